"""The wheels as somebody gets them: built, installed in an empty environment, used in an empty folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from stylobate.launcher.project import Project
from stylobate.testing.ports import free_ports

from tests.conftest import ROOT

DISTRIBUTIONS = {
    "stylobate", "stylobate_auth", "stylobate_ratelimit", "stylobate_state", "stylobate_actions", "stylobate_gateway",
    "stylobate_realtime",
}  # fmt: skip
_BIN = Path(sys.executable).parent
_LEFT_OUT = ("PYTHONPATH", "VIRTUAL_ENV")


def _run(*command: str | Path, folder: Path) -> str:
    """Run a command without a trace of this checkout's environment; return its output."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_") and name not in _LEFT_OUT}
    environ["UV_PYTHON_DOWNLOADS"] = "never"
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> list[Path]:
    """Give the wheels, freshly built."""
    folder = tmp_path_factory.mktemp("wheels")
    _run(sys.executable, ROOT / "scripts" / "build_wheels.py", folder, folder=ROOT)
    return sorted(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheels, tmp_path_factory) -> Path:
    """Give the ``bin`` folder of an environment with the pinned requirements and the wheels, nothing of this checkout."""
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"
    _run(_BIN / "uv", "venv", "--quiet", "--allow-existing", "--python", sys.executable, folder, folder=folder)
    lock = ROOT / "requirements" / "runtime.lock"
    _run(_BIN / "uv", "pip", "sync", "--quiet", "--require-hashes", "--python", python, lock, folder=folder)
    _run(_BIN / "uv", "pip", "install", "--quiet", "--no-deps", "--python", python, *wheels, folder=folder)
    return folder / "bin"


def test_one_wheel_for_each_distribution(wheels):
    """Every distribution gives one wheel of the one version, with its data files and without its tests."""
    version = (ROOT / "VERSION").read_text().strip()
    assert {wheel.name.split("-")[0] for wheel in wheels} == DISTRIBUTIONS
    assert len(wheels) == len(DISTRIBUTIONS)
    files: set[str] = set()
    for wheel in wheels:
        assert wheel.name.split("-")[1] == version
        files |= set(zipfile.ZipFile(wheel).namelist())
    assert [name for name in files if "/tests/" in name and not name.startswith("stylobate/launcher/templates/")] == []
    for needed in ("stylobate/launcher/templates/shop/actions.yaml", "stylobate/launcher/templates/shop/module.py"):
        assert needed in files
    for suffix in (".sql", ".lua", "py.typed"):
        assert any(name.endswith(suffix) for name in files)


def test_requirements_are_complete(installed):
    """What the wheels ask for is what the lock installs: nothing missing, nothing of another version."""
    _run(_BIN / "uv", "pip", "check", "--python", installed / "python", folder=installed)


def test_init_up_and_demo_in_an_empty_folder(installed, tmp_path):
    """`init`, `up --detach`, `demo`, `status`, `down`: the whole platform from wheels alone."""
    folder = tmp_path / "webshop"
    folder.mkdir()
    stylobate = installed / "stylobate"
    where = _run(installed / "python", "-c", "import stylobate, stylobate_gateway; print(stylobate.__file__)", folder=folder)
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert "stylobate up" in _run(stylobate, "init", folder=folder)
    assert "fine" in _run(stylobate, "modules", "check", folder=folder)
    try:
        started = _run(stylobate, "up", "--detach", "--port", str(free_ports()), folder=folder)
        assert "ready" in started
        assert "every step held" in _run(stylobate, "demo", folder=folder)
        assert "ready" in _run(stylobate, "status", folder=folder)
    finally:
        running = Project(folder).running()
        _run(stylobate, "down", folder=folder)
    assert running is not None
    assert not any(process.is_running for process in (running.supervisor, *running.children))
