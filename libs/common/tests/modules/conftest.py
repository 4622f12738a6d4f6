"""Modules written to disk by tests."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

WriteModule = Callable[..., Path]


@pytest.fixture
def write_module(tmp_path: Path) -> WriteModule:
    """Return what writes a module's files and gives the folder of modules."""

    def write(name: str, code: str = "", **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "module.yaml").write_text(dedent(files.pop("module", f'name: {name}\nversion: "1.0.0"\n')))
        for file, text in files.items():
            (folder / f"{file}.yaml").write_text(dedent(text))
        if code:
            (folder / "module.py").write_text(dedent(code))
        return tmp_path

    return write
