"""An empty project folder as the working directory, and the `stylobate` command in it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from stylobate.launcher.project import Project
from stylobate.testing import commands


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in os.environ:
        if name.startswith("STYLOBATE_"):
            monkeypatch.delenv(name)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Give an empty project, which is the working directory; its run folder is removed afterwards."""
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    yield made
    shutil.rmtree(made.run, ignore_errors=True)


@pytest.fixture
def stylobate(project: Project) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Give the command, run in the project's folder as a process of its own; see ``commands``."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        return commands.run(*arguments, folder=project.folder, environ=os.environ | environ, stdin=stdin)

    return run


@pytest.fixture
def shop() -> Path:
    """Give the folder of the shop, the module that `init` makes."""
    return Path(__file__).parents[4] / "modules" / "shop"
