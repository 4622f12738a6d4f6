"""What a command hands on to the program that it becomes."""

import sys

import pytest
from stylobate.launcher.lasting import PLATFORM, command_line
from stylobate.launcher.up_options import DatabaseKind, UpOptions


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        (UpOptions(), []),
        (UpOptions(split=True, workers=3, port=18080), ["--split=1", "--workers=3", "--port=18080"]),
        (UpOptions(vault=True, database=DatabaseKind.MONGODB), ["--vault=1", "--database=mongodb"]),
        (UpOptions(watch=True, is_read=False), ["--watch=1", "--is_read=0"]),
    ],
)
def test_all_options_arrive(options: UpOptions, arguments: list[str]) -> None:
    """What is as ever is not said."""
    assert options.arguments() == arguments
    assert UpOptions.of(arguments) == options


@pytest.mark.parametrize(
    ("begun", "given"),
    [
        (["-X", "dev", "-Werror", "/bin/stylobate", "up", "--port", "1"], ["-X", "dev", "-Werror"]),
        (["-W", "ignore", "-m", "stylobate.launcher", "up"], ["-W", "ignore"]),
        (["-Im", "stylobate.launcher", "up"], ["-I"]),
        (["-mstylobate.launcher", "up"], []),
        (["-BImstylobate.launcher", "up", "-X"], ["-BI"]),
        (["-uX", "dev", "-bWerror::BytesWarning", "/bin/stylobate", "up"], ["-uX", "dev", "-bWerror::BytesWarning"]),
        (["--check-hash-based-pycs", "always", "/bin/stylobate", "up"], ["--check-hash-based-pycs", "always"]),
        (["-P", "-c", "any text", "-m"], []),
        ([], []),
    ],
)
def test_the_interpreter_is_given_the_same(monkeypatch: pytest.MonkeyPatch, begun: list[str], given: list[str]) -> None:
    """What it was told before the program; and a file that lies in the project is never imported in place of a library."""
    monkeypatch.setattr(sys, "orig_argv", ["python", *begun])
    assert command_line(PLATFORM, ["--port=1"]) == [sys.executable, *given, "-P", "-m", PLATFORM, "--port=1"]
