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
    ("given", "program"),
    [(["-X", "dev", "-Werror"], ["/bin/stylobate"]), ([], ["-m", "stylobate.launcher"]), (["-P"], ["-m", "stylobate.launcher"])],
)
def test_the_interpreter_is_given_the_same(monkeypatch: pytest.MonkeyPatch, given: list[str], program: list[str]) -> None:
    """What it was told before the program; and a file that lies in the project is never imported in place of a library."""
    monkeypatch.setattr(sys, "orig_argv", ["python", *given, *program, "up", "--port", "1"])
    monkeypatch.setattr(sys, "argv", ["/any/path", "up", "--port", "1"])
    own = [option for option in given if option != "-P"]
    assert command_line(PLATFORM, ["--port=1"]) == [sys.executable, *own, "-P", "-m", PLATFORM, "--port=1"]
