"""Commands that last go on in an interpreter of their own: what reads a command line would stay in memory as long as they run."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib import import_module

PLATFORM = "stylobate.launcher.platform"
CONTAINER = "stylobate.launcher.container"
_WITH_VALUE, _LONG_WITH_VALUE, _PROGRAM = "XW", "--check-hash-based-pycs", "mc"
_WHAT_SERVES = "stylobate.launcher.serving"


def command_line(module: str, arguments: Iterable[str]) -> list[str]:
    """Return how a module of ours is executed: with what this interpreter was given, and nothing from the folder it is in."""
    given = (option for option in _given(sys.orig_argv[1:]) if option != "-P")
    return [sys.executable, *given, "-P", "-m", module, *arguments]


def _given(arguments: Sequence[str]) -> Iterator[str]:
    """Return what stands before the program: ``-X dev``, ``-Werror``, ``-I`` of ``-Im program``."""
    parts = iter(arguments)
    for part in parts:
        if not part.startswith("-") or part == "-":
            return
        if part.startswith("--"):
            yield part
            if part == _LONG_WITH_VALUE:
                yield next(parts)
            continue
        # letters, of which the last one may have a value: in the same word or in the next
        at = next((at for at, letter in enumerate(part) if letter in _WITH_VALUE + _PROGRAM), None)
        if at is not None and part[at] in _PROGRAM:
            if at > 1:
                yield part[:at]
            return
        yield part
        if at == len(part) - 1:
            yield next(parts)


def go_on(module: str, arguments: Iterable[str]) -> None:
    """Become the module's ``main``, under the same process number, and end with it.

    A process that has imported what serves already goes on as it is: such is the fork of one that imported it for many. So does
    one that may not execute its interpreter again.
    """
    arguments = list(arguments)
    if _WHAT_SERVES not in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        with suppress(OSError):
            os.execv(sys.executable, command_line(module, arguments))  # noqa: S606  ourselves
    import_module(module).main(arguments)
