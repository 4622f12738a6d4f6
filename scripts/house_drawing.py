"""Draws the house from its imports: which package of the platform rests on which (Mermaid, in CONTRIBUTING.md)."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[1]
_PAGE = ROOT / "CONTRIBUTING.md"
_MARKS = re.compile(r"(<!-- house -->\n).*(<!-- /house -->)", re.DOTALL)
_GROUND = "ground"
"""What nearly everything rests on: single files, and packages that import nothing but these."""


def page() -> str:
    """Return CONTRIBUTING.md with the drawing of today."""
    return _MARKS.sub(lambda found: f"{found[1]}```mermaid\n{drawing()}```\n{found[2]}", _PAGE.read_text(encoding="utf-8"))


def drawing() -> str:
    """Return the drawing: an arrow says "imports"; what follows from other arrows is left out."""
    services = sorted(path.name for path in (ROOT / "services").glob("*/stylobate_*"))
    graph = grimp.build_graph("stylobate", *services)
    rooms = {module: _room(module) for module in graph.modules}
    imports: dict[str, set[str]] = {room: set() for room in rooms.values() if room}
    for module, room in rooms.items():
        for imported in graph.find_modules_directly_imported_by(module):
            if room and rooms[imported] not in {room, ""}:
                imports[room].add(rooms[imported])
    ground = _ground(imports)
    standing = {
        room: found - ground | ({_GROUND} if found & ground else set()) for room, found in imports.items() if room not in ground
    }
    lines = ["flowchart TD", f'  {_GROUND}["{", ".join(sorted(ground))}"]']
    lines += [f"  {room}" for room in sorted(standing)]
    lines += [
        f"  {room} --> {below}"
        for room in sorted(standing)
        for below in sorted(standing[room])
        if not any(_leads(standing, other, below) for other in standing[room] - {below})
    ]
    return "\n".join(lines) + "\n"


def _room(module: str) -> str:
    """Return the service or the part of the library that a module belongs to; empty for what is generated."""
    first, *rest = module.split(".")
    if first != "stylobate":
        return first
    return rest[0] if rest and rest[0] != "api" else ""


def _ground(imports: Mapping[str, Collection[str]]) -> set[str]:
    """Return the packages below `identity`, which is where the drawing begins to tell something."""
    found: set[str] = set()
    while more := {room for room, below in imports.items() if room != "identity" and found >= set(below)} - found:
        found |= more
    return found


def _leads(imports: Mapping[str, Collection[str]], above: str, below: str) -> bool:
    return below in imports.get(above, ()) or any(_leads(imports, other, below) for other in imports.get(above, ()))
