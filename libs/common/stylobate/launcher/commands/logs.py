"""`stylobate logs`."""

import time
from pathlib import Path

import typer

from stylobate.launcher.faces import CommandError
from stylobate.launcher.project import Project

_PAUSE_S = 0.2


def logs(*, follow: bool, lines: int) -> None:
    """Print the last lines of every log file, then what comes when following. Ctrl-C ends it."""
    folder = Project(Path.cwd()).logs
    if not folder.is_dir():
        raise CommandError("there are no logs here yet; `stylobate up` writes them")
    offsets: dict[Path, int] = {}
    _print_new(folder, offsets, lines)
    try:
        while follow:
            time.sleep(_PAUSE_S)
            _print_new(folder, offsets, None)
    except KeyboardInterrupt:
        return


def _print_new(folder: Path, offsets: dict[Path, int], last: int | None) -> None:
    """Print what the files got since the offsets; a file that shrank was rotated and begins anew."""
    for path in sorted(folder.glob("*.log")):
        size = path.stat().st_size
        begin = offsets.get(path, 0)
        if size < begin:
            begin = 0
        with path.open("rb") as file:
            file.seek(begin)
            found = file.read().decode(errors="replace").splitlines()
        offsets[path] = size
        for line in found if last is None else found[max(0, len(found) - last) :]:
            typer.echo(f"{path.stem:<12} {line}")
