"""The six images, built and run as the manifests run them: a read-only root, a user without rights, nothing else granted."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from stylobate.services import installed_services
from stylobate.testing.authority import Authority
from stylobate.testing.commands import Command

from tests.conftest import ROOT
from tests.deploy.cluster import Cluster

BASE = "STYLOBATE_TEST_BASE_IMAGE"
TAG = "under-test"
_CONFINED = ("--rm", "--interactive", "--network=host", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")


def image(service: str) -> str:
    """Return the name that the script gives a service's image."""
    return f"localhost/stylobate-{service}:{TAG}"


def absent() -> str:
    """Return why images cannot be tried here; empty when they can."""
    if not os.environ.get(BASE):
        return f"{BASE} names no base image (Python 3.11 or newer with venv and pip)"
    return "" if shutil.which("podman") else "needs podman"


def build() -> None:
    """Build all six."""
    environ = os.environ | {"TOOL": "podman", "BASE": os.environ[BASE], "TAG": TAG, "CA": os.environ.get("SSL_CERT_FILE", "")}
    script = [str(ROOT / "scripts" / "build_images.sh")]
    built = subprocess.run(script, env=environ, capture_output=True, text=True, timeout=1500, check=False)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]


def remove() -> None:
    """Remove the six; what the build keeps to be faster next time stays (`podman image prune`)."""
    subprocess.run(["podman", "rmi", "--force", *map(image, installed_services())], capture_output=True, check=False)


def layers(service: str) -> list[str]:
    """Return the digests of an image's layers, the lowest first."""
    template = "{{range .RootFS.Layers}}{{.}} {{end}}"
    shown = ["podman", "inspect", "--format", template, image(service)]
    return subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()


def serves(service: str) -> str:
    """Return what an image serves."""
    shown = ["podman", "inspect", "--format", "{{range .Config.Env}}{{println .}}{{end}}", image(service)]
    environ = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in environ if line)["STYLOBATE_SERVICES"]


class Containers(Cluster):
    """A cluster whose services run in containers. The modules are those of the images."""

    def __init__(self, folder: Path, settings: Mapping[str, str], authority: Authority) -> None:
        super().__init__(folder, settings, authority)
        self._mounted = (folder / "keys", authority.file.parent)
        for file in (*(folder / "keys").iterdir(), *authority.file.parent.glob("*.key")):
            file.chmod(0o644)  # the container's user is not their owner; the test's folder is closed to everybody else
        (folder / "keys").chmod(0o755)

    def serve(self, name: str, environ: Mapping[str, str], log: BinaryIO) -> Command:
        """Run a service's image as it is."""
        return subprocess.Popen(self._podman(name, environ), env=environ, cwd=self.folder, stdout=log, stderr=log)

    def in_image(self, name: str, *arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Run a command of an operator in a service's image."""
        command = self._podman(name, self.environ, *arguments)
        return subprocess.run(command, env=self.environ, capture_output=True, input=stdin, text=True, timeout=120, check=False)

    def _podman(self, name: str, environ: Mapping[str, str], *arguments: str) -> list[str]:
        given = sorted(variable for variable in environ if variable.startswith("STYLOBATE_") and variable != "STYLOBATE_MODULES")
        variables = [f"--env={variable}" for variable in given]  # by name: a value would stand in the list of processes
        volumes = [f"--volume={folder}:{folder}:ro" for folder in self._mounted]
        return ["podman", "run", *_CONFINED, *variables, *volumes, image(name), *arguments]
