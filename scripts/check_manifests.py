"""Checks deploy/: each Kubernetes manifest against its schema, rendered first where kubectl is found, and the Dockerfile."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
KUBERNETES = ROOT / "deploy" / "kubernetes"
SCHEMA = "1.33"
_PARTIAL = ("kustomization.yaml", "deployment-patch.yaml")


def rendered() -> list[Path]:
    """Return files to check: each overlay and the base rendered; without kubectl the plain resources."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        print("kubectl is not here: the manifests are checked as they are, not rendered by kustomize")
        return [path for path in sorted(KUBERNETES.rglob("*.yaml")) if path.name not in _PARTIAL]
    folder = Path(tempfile.mkdtemp())
    found = []
    for kustomization in sorted(KUBERNETES.rglob("kustomization.yaml")):
        name = "-".join(kustomization.parent.relative_to(KUBERNETES).parts)
        text = subprocess.run([kubectl, "kustomize", kustomization.parent], capture_output=True, text=True, check=True).stdout  # noqa: S603
        target = folder / f"{name}.yaml"
        target.write_text(text)
        found.append(target)
    return found


def main() -> int:
    """Return 0 when everything holds."""
    bin_folder = Path(sys.executable).parent
    validate = [str(bin_folder / "kubernetes-validate"), "--strict", "-k", SCHEMA, "--quiet"]
    failed = sum(subprocess.run([*validate, str(path)], check=False).returncode != 0 for path in rendered())  # noqa: S603
    failed += subprocess.run([str(bin_folder / "hadolint"), str(ROOT / "deploy/docker/Dockerfile")], check=False).returncode != 0  # noqa: S603
    yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
