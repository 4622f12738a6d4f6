"""`stylobate init`."""

import os
import shutil
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import orjson
import typer

from stylobate.declarations.editor import FOLDER, editor_schemas
from stylobate.launcher.output import CommandError, console

_HARMLESS = (".git", ".venv", "venv", ".idea", ".vscode", ".DS_Store")
"""What a folder may hold before a project is made in it: version control, a virtual environment, an editor's settings."""
_IGNORED = ".stylobate/\n.venv/\n__pycache__/\n"
_PYTEST = """[pytest]
addopts = --import-mode=importlib
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""
_README = """# {name}

A Stylobate project. `modules/shop` is an example to change: an online shop's orders.

    stylobate up              the whole platform, here
    stylobate demo            a customer's journey against it
    stylobate modules check   every finding about the modules
    pytest modules            their tests (pip install pytest pytest-asyncio)
"""


def init(folder: Annotated[Path, typer.Argument(help="An empty folder.")] = Path()) -> None:
    """Make a project with the shop as its example. Raises CommandError when the folder holds anything of a project already."""
    target = Path(os.path.realpath(folder))  # leaves links in a circle to whoever opens them; Path.resolve has no OSError for it
    if target.exists() and not target.is_dir():
        raise CommandError(f"{target} is not a folder")
    if target.exists() and (found := sorted(path.name for path in target.iterdir() if path.name not in _HARMLESS)):
        raise CommandError(f"{target} is not empty: {', '.join(found[:3])}{' …' if len(found) > 3 else ''}")  # noqa: PLR2004
    target.mkdir(parents=True, exist_ok=True)
    with as_file(files("stylobate.launcher") / "templates") as templates:
        shutil.copytree(templates / "shop", target / "modules" / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    for name, schema in editor_schemas().items():
        file = target / "modules" / FOLDER / name.replace(".yaml", ".json")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(orjson.dumps(schema, option=orjson.OPT_INDENT_2))
    (target / ".gitignore").write_text(_IGNORED, encoding="utf-8")
    (target / "pytest.ini").write_text(_PYTEST, encoding="utf-8")
    (target / "README.md").write_text(_README.format(name=target.name), encoding="utf-8")
    console().print(f"made a project in {target}; next: `stylobate up` there")
