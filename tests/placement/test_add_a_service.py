"""The page that says how a service is added, carried out: each step is needed, and no other is."""

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from stylobate.launcher.ports import Ports
from stylobate.services import ENTRY_POINTS, ServiceSpec, installed_services
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "add-a-service.md"
STEPS = re.findall(r"^## \d+\. ([^\n]+)$", PAGE.read_text(), re.MULTILINE)
FILES = re.findall(r"^`([\w/.]+)`: .*?^```\w+\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def _install(folder: Path, files: list[tuple[str, str]]) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """Write the files and install what they are; return where to, and how that went."""
    source, target = folder / "source", folder / "installed"
    for name, text in files:
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    return target, subprocess.run([*install, "--target", target, source], capture_output=True, text=True, check=False)


def _starts(installed: Path) -> bool:
    """Return whether the service is found and can be built, as every process does at its start."""
    script = "from stylobate.services import installed_services; installed_services()['echo'].load()"
    environ = os.environ | {"PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, check=False).returncode == 0


def test_a_seventh_service_runs_and_answers(tmp_path: Path) -> None:
    """After the steps of the page, and nothing else, `up` hosts the service and its path is answered; the others go on."""
    assert len(FILES) == len(STEPS), "each step is one file"
    installed, done = _install(tmp_path, FILES)
    assert done.returncode == 0, done.stderr
    platform = Platform(
        tmp_path / "project", environ={"PYTHONPATH": str(installed), "STYLOBATE_ECHO_GREETING": "welcome"}, is_anew=True
    )
    try:
        platform.start()
        with httpx.Client(base_url=platform.gateway, verify=NO_TLS) as client:
            assert client.get("/echo/there").text == "welcome at /echo/there"
            assert client.get("/v1/auth/me").status_code == 401
        assert platform.status()["services"]["echo"]["status"] == "healthy"
        assert (platform.project.identity / "echo.pem").exists()
    finally:
        platform.stop()


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
def test_every_step_is_needed(tmp_path: Path, step: int) -> None:
    """Without any one of the steps there is no such service: the page says nothing that could be left out."""
    rest = [file for place, file in enumerate(FILES) if place != step]
    installed, done = _install(tmp_path, rest)
    assert done.returncode != 0 or not _starts(installed)


def test_a_seventh_service_has_ports_of_its_own() -> None:
    """A service that names no ports gets those that the others leave, with documented ports and counted from a base."""
    echo = ServiceSpec("echo", next(iter(installed_services().values())).settings, None, http=("/echo",))  # type: ignore[arg-type]
    specs = {**installed_services(), "echo": echo}
    for base in (0, 36_000):
        ports = Ports(base, specs=specs)
        given = [*ports.shared[1:], *ports.http.values(), *ports.grpc.values()]
        assert len(given) == len(set(given))
    with pytest.raises(ValueError, match="two services name the port 9091"):
        _ = Ports(specs={**specs, "echo": ServiceSpec("echo", echo.settings, echo.build, grpc_port=9091)}).grpc


def test_the_manifests_say_what_the_specs_say() -> None:
    """Every service has a manifest, an HTTP port there if it serves HTTP, and a Job if it has a schema."""
    base = Path(__file__).parents[2] / "deploy" / "kubernetes"
    jobs = (base / "migrate" / "jobs.yaml").read_text()
    listed = (base / "base" / "kustomization.yaml").read_text()
    for name, spec in installed_services().items():
        text = (base / "base" / f"{name}.yaml").read_text()
        assert ("containerPort: 8080" in text) == bool(spec.http), name
        assert f"  - {name}.yaml\n" in listed
        assert (f"name: stylobate-migrate-{name}\n" in jobs) == bool(spec.migrations), name
    assert ENTRY_POINTS in FILES[-1][1]
