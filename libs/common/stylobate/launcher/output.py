"""What the `stylobate` command shows: one console, addresses, tables; one clear line for an error."""

import errno
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import stylobate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDE = 10_000
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
"""What a disk may be the cause of, also where what is written to has no name, such as a standard output that goes to a file."""
_OF_THE_FOLDER = (
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
    errno.ELOOP,
)
"""What a folder may be the cause of. That a file is not there is one's own mistake only where one named it; see _is_named."""
_PLACES = ("TMPDIR", "XDG_RUNTIME_DIR")


class CommandError(Exception):
    """Something a person can mend; the text is one line, the exit code 2."""


def console() -> "Console":
    """Return the console for what a person reads. What another program reads is not cut to a terminal's width."""
    from rich.console import Console  # noqa: PLC0415  a service in a container shows nothing to anybody

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def print_line(text: str) -> None:
    """Print a line as it stands: without markup and colours, and a terminal wraps it where it likes."""
    console().print(text, highlight=False, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Say on standard error what a person may want to know; nothing stops."""
    _say("[yellow]warning:[/yellow]", text)


def _say(marked: str, text: str) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.markup import escape  # noqa: PLC0415

    Console(stderr=True, highlight=False).print(f"{marked} {escape(text)}", soft_wrap=True)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors that a person can mend into one line each and exit code 2; others pass with their traceback."""
    try:
        yield
    except (Exception, BaseExceptionGroup) as error:
        lines = _mendable(error)
        if lines is None:
            raise
        for line in dict.fromkeys(lines):  # what several services of a process say alike is said once
            _say("[red]error:[/red]", line)
        _give_up_output()
        raise SystemExit(2) from None


def _give_up_output() -> None:
    """Let go of what cannot be written, or the interpreter tries once more at its end, with a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _mendable(error: BaseException) -> list[str] | None:
    """Return the lines of an error, or None when any part of it is a defect."""
    # imported where there is an error only: most commands need none of it
    from stylobate.app.listening import ListenError  # noqa: PLC0415
    from stylobate.config import ConfigError  # noqa: PLC0415
    from stylobate.database import MigrationError  # noqa: PLC0415
    from stylobate.errors import StylobateError  # noqa: PLC0415
    from stylobate.launcher.embedded import EmbeddedServerError  # noqa: PLC0415

    if isinstance(error, BaseExceptionGroup):
        parts = [_mendable(part) for part in error.exceptions]
        return None if any(part is None for part in parts) else [line for part in parts for line in part or []]
    if isinstance(error, OSError):
        return _of_the_place(error)
    if not isinstance(error, (CommandError, ConfigError, ListenError, EmbeddedServerError, MigrationError, StylobateError)):
        return None
    violations = error.violations if isinstance(error, StylobateError) else ()
    return [*str(error).splitlines(), *(f"{violation.pointer}: {violation.detail}" for violation in violations)]


def _of_the_place(error: OSError) -> list[str] | None:
    """Return the line of an error of the system, or None for a defect."""
    if isinstance(error, shutil.Error):  # what failed of a whole folder, file by file
        _, target, why = error.args[0][0]
        return [f"{target}: {why}"]
    if error.errno in (*_OF_THE_FOLDER, *_OF_THE_DISK) and error.filename is not None:
        return [f"{error.filename}: {error.strerror}"]
    if error.errno in _OF_THE_DISK:
        return [f"cannot write: {error.strerror}"]
    if isinstance(error, FileNotFoundError):
        try:
            here = Path.cwd()
        except FileNotFoundError:
            return ["the folder that this was started in is gone; change to another one"]
        if error.filename is not None and _is_named(here / os.fsdecode(error.filename), here):
            return [f"{error.filename}: {error.strerror}"]
    return None


def _is_named(file: Path, here: Path) -> bool:
    """Return whether who called named the file or a folder of it: as an argument, in the environment, or as the project's data.

    What lies in the installed packages is never meant by that: it is missing for a defect.
    """
    texts = [argument.rpartition("=")[2] for argument in sys.argv[1:]]
    texts += [value for name, value in os.environ.items() if name.startswith("STYLOBATE_") or name in _PLACES]
    places = [here / part for text in texts for part in text.split(os.pathsep) if part]
    if not (here / ".stylobate").exists():
        places.append(here / ".stylobate")
    ours = [Path(folder) for folder in (sys.prefix, *sysconfig.get_paths().values(), *stylobate.__path__)]
    real = Path(os.path.realpath(file))

    def is_in(places: Iterable[Path]) -> bool:
        return any(real.is_relative_to(os.path.realpath(place)) or file.is_relative_to(place) for place in places)

    return is_in(places) and not is_in(ours)


def addresses(endpoints: dict[str, str]) -> "Table":
    """Return the addresses as two columns."""
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2))
    for name, address in endpoints.items():
        table.add_row(f"  [bold]{name}[/bold]", address)
    return table
