"""Writing modules into a folder and loading them."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from stylobate.declarations import Declarations, load_declarations
from stylobate.declarations.model import Severity


class Modules:
    """A folder of modules under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, **files: str) -> Path:
        """Write a module; ``actions="…"`` becomes actions.yaml. module.yaml names it unless given."""
        module = self.folder / name
        module.mkdir(parents=True)
        files.setdefault("module", f"name: {name}\n")
        for file, content in files.items():
            (module / f"{file}.yaml").write_text(dedent(content), encoding="utf-8")
        return module

    def load(self) -> Declarations:
        """Load the folder."""
        return load_declarations(str(self.folder))

    def findings(self, severity: Severity = Severity.ERROR) -> list[str]:
        """Return the findings as ``shop/actions.yaml:3: message``."""
        return [str(finding).removeprefix(f"{self.folder}/") for finding in self.load().findings if finding.severity is severity]


@pytest.fixture
def modules(tmp_path: Path) -> Modules:
    """Make an empty folder of modules."""
    (tmp_path / "modules").mkdir()
    return Modules(tmp_path / "modules")


@pytest.fixture
def findings_of(modules: Modules) -> Callable[..., list[str]]:
    """Write one module named shop and return its error findings."""

    def findings(**files: str) -> list[str]:
        modules.write("shop", **files)
        return modules.findings()

    return findings
