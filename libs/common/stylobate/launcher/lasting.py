"""Commands that last go on in an interpreter of their own: what reads a command line would stay in memory as long as they run."""

import os
import sys
from collections.abc import Iterable
from importlib import import_module

PLATFORM = "stylobate.launcher.platform"
CONTAINER = "stylobate.launcher.container"
_WHAT_SERVES = "stylobate.launcher.serving"


def command_line(module: str, arguments: Iterable[str]) -> list[str]:
    """Return how a module of ours is executed: with what this interpreter was given, and nothing from the folder it is in."""
    given = sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]
    return [sys.executable, *(option for option in given if option not in {"-P", "-m", "-c"}), "-P", "-m", module, *arguments]


def go_on(module: str, arguments: Iterable[str]) -> None:
    """Become the module's ``main``, under the same number; return only where this process has imported what serves already.

    Such is the fork of one that imported it for many.
    """
    if _WHAT_SERVES in sys.modules:
        import_module(module).main(list(arguments))
        return
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command_line(module, arguments))  # noqa: S606  ourselves
