"""Checks deploy/: the Dockerfile, and each Kubernetes manifest against its schema and against what a schema cannot say.

The manifests are rendered first where kubectl is found.
"""

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


def faults(file: Path) -> list[str]:
    """Return what is wrong with a rendered overlay as a whole."""
    objects = [found for found in yaml.safe_load_all(file.read_text()) if found]
    kinds = {kind: [found for found in objects if found["kind"] == kind] for kind in {found["kind"] for found in objects}}
    if "Deployment" not in kinds or file.stem == "base":
        return []
    names = {found["metadata"]["name"] for found in kinds.get("ConfigMap", [])}
    pods = [found["spec"]["template"]["spec"] for found in (*kinds["Deployment"], *kinds.get("Job", []))]
    containers = [container for pod in pods for container in pod["containers"]]
    asked = {source["configMapRef"]["name"] for container in containers for source in container.get("envFrom", [])}
    said = [f"no ConfigMap {name}: pods would not be rolled when it changes" for name in sorted(asked - names)]
    said += ["no Namespace"] if "Namespace" not in kinds else []
    said += ["a Secret: it would replace the real one"] if "Secret" in kinds else []
    said += [
        f"{job['metadata']['name']}: the Job of every release"
        for job in kinds.get("Job", [])
        if not job["metadata"]["name"][-1].isdigit()
    ]
    if "example" in file.stem:
        said += [f"{container['image']}: no registry" for container in containers if "/" not in container["image"]]
    return [f"{file.stem}: {fault}" for fault in said]


def main() -> int:
    """Return 0 when everything holds."""
    bin_folder = Path(sys.executable).parent
    validate = [str(bin_folder / "kubernetes-validate"), "--strict", "-k", SCHEMA, "--quiet"]
    files = rendered()
    failed = sum(subprocess.run([*validate, str(path)], check=False).returncode != 0 for path in files)  # noqa: S603
    for fault in (fault for path in files if shutil.which("kubectl") for fault in faults(path)):
        print(fault)
        failed += 1
    failed += subprocess.run([str(bin_folder / "hadolint"), str(ROOT / "deploy/docker/Dockerfile")], check=False).returncode != 0  # noqa: S603
    yaml.safe_load((ROOT / "skaffold.yaml").read_text())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
