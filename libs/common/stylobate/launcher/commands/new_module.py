"""`stylobate modules new`."""

import keyword
import os
import re
from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from stylobate.launcher.output import CommandError, console

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_EXAMPLE = "example"


def new(
    name: Annotated[str, typer.Argument(help="Its name: lower case letters, digits and _.")],
    yaml: Annotated[
        bool, typer.Option("--yaml/--python", help="Where its actions are declared: actions.yaml, or its code.")
    ] = False,
) -> None:
    """Make a small module that works, with a test, in the folder of modules."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise CommandError(f"{name!r} is not a valid module name: lower case letters, digits and _, beginning with a letter")
    folders = os.environ.get("STYLOBATE_MODULES", "modules")
    if os.pathsep in folders or (Path(folders) / "module.yaml").exists():
        raise CommandError("STYLOBATE_MODULES must name the folder of modules in which to make it, and no other")
    target = Path(folders) / name
    if target.exists():
        raise CommandError(f"{target} exists already")
    with as_file(files("stylobate.launcher") / "templates") as templates:
        template = templates / ("yaml" if yaml else "python")
        for source in sorted(template.rglob("*.*")):
            if source.suffix in {".py", ".yaml"}:
                file = target / source.relative_to(template).as_posix().replace(_EXAMPLE, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                text = source.read_text(encoding="utf-8").replace("Example", _class_name(name)).replace(_EXAMPLE, name)
                file.write_text(text, encoding="utf-8")
    console().print(f"made {target}; next: `pytest {target}`, `stylobate modules check`")


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
