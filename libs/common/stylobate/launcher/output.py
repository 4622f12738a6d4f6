"""What the `stylobate` command shows: one console, addresses, tables; one clear line for an error."""

import errno
import io
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import stylobate

if TYPE_CHECKING:
    from rich.console import Console

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
_STYLES = {"bold": 1, "dim": 2, "red": 31, "yellow": 33}
"""By their numbers (ECMA-48): what lasts is written without a library for it, which would stay in memory."""
_WITHOUT_STYLES = ("dumb", "unknown")
_PLACES = ("TMPDIR", "XDG_RUNTIME_DIR")


class CommandError(Exception):
    """Something a person can mend; the text is one line, the exit code 2."""


def console() -> "Console":
    """Return the console for what a person reads. What another program reads is not cut to a terminal's width."""
    from rich.console import Console  # noqa: PLC0415  a service in a container shows nothing to anybody

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def print_line(text: str) -> None:
    """Print a line as it stands: without markup and colours, and a terminal wraps it where it likes."""
    try:
        print(text)  # noqa: T201
    except BrokenPipeError:  # whoever read it has seen enough
        _give_up_output()
        raise SystemExit(1) from None


def styled(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return the text in a style where the stream (None: standard output) is a terminal that has some: see :data:`_STYLES`."""
    shown = (stream or sys.stdout).isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") not in _WITHOUT_STYLES
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if shown else text


def warn(text: str) -> None:
    """Say on standard error what a person may want to know; nothing stops."""
    _say("warning:", "yellow", text)


def _say(mark: str, style: str, text: str) -> None:
    print(f"{styled(mark, style, sys.stderr)} {text}", file=sys.stderr)  # noqa: T201


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
            _say("error:", "red", line)
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


def show_addresses(endpoints: dict[str, str]) -> None:
    """Print the addresses as two columns."""
    width = max(map(len, endpoints), default=0)
    for name, address in endpoints.items():
        print_line(f"  {styled(name, 'bold')}{' ' * (width - len(name))}  {address}")


def prepare_streams() -> None:
    """Make standard output and error what a command writes to, also a lasting one."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal that knows no ✓ shows something else; what is printed is seen at once, in a file too
            stream.reconfigure(errors="replace", line_buffering=True)
