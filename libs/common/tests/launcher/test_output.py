"""Errors that a person can mend are one line each; defects keep their traceback."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
import stylobate
from stylobate.app.listening import PortInUseError
from stylobate.config import ConfigError
from stylobate.errors import InvalidInputError, Violation
from stylobate.launcher.output import CommandError, plain_errors


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (CommandError("no [modules] in [/folder]"), ["error: no [modules] in [/folder]"]),
        (ConfigError(["A: bad", "B: worse"]), ["error: A: bad", "error: B: worse"]),
        (PortInUseError("127.0.0.1:1"), ["error: 127.0.0.1:1 is in use by another program"]),
        (InvalidInputError("No.", violations=[Violation("/email", "is none")]), ["error: No.", "error: /email: is none"]),
        (
            ExceptionGroup("some", [CommandError("one"), ExceptionGroup("deeper", [ConfigError(["two"])])]),
            ["error: one", "error: two"],
        ),
    ],
)
def test_what_can_be_mended_is_said_in_lines(capsys, error, lines) -> None:
    """Each finding is a line on standard error with its brackets left alone, and the exit code is 2."""
    with pytest.raises(SystemExit) as ended, plain_errors():
        raise error
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert (said.out, said.err.splitlines()) == ("", lines)


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a defect"), ExceptionGroup("some", [CommandError("one"), RuntimeError("a defect")]), KeyboardInterrupt()],
)
def test_a_defect_is_not_dressed_up(error) -> None:
    """What nobody foresaw passes unchanged, also when something mendable came with it."""
    with pytest.raises(type(error)) as raised, plain_errors():
        raise error
    assert raised.value is error


def named(path: Path) -> FileNotFoundError:
    """Return what opening a file raises that is not there."""
    with pytest.raises(FileNotFoundError) as raised:
        path.read_bytes()
    return raised.value


@pytest.mark.parametrize(
    ("argument", "environ", "file"),
    [
        ("{folder}/shop.yaml", {}, "{folder}/shop.yaml"),
        ("--keys={folder}", {}, "{folder}/keys/state.pem"),
        ("project", {}, "project/modules"),
        ("", {"STYLOBATE_MODULES": "/elsewhere:{folder}/modules"}, "{folder}/modules/shop/module.yaml"),
        ("", {"STYLOBATE_LOG_FILE": "{folder}/absent/log"}, "{folder}/absent/log"),
        ("", {"TMPDIR": "{folder}/tmp"}, "{folder}/tmp/stylobate-0"),
        ("", {}, ".stylobate/logs/forkserver.out"),
    ],
)
def test_a_file_that_somebody_named_and_is_not_there_is_a_line(tmp_path, monkeypatch, capsys, argument, environ, file) -> None:
    """As an argument or a setting, itself or a folder of it, or with the project's data."""
    place(tmp_path, monkeypatch, argument, environ)
    with pytest.raises(SystemExit), plain_errors():
        raise named(Path(file.format(folder=tmp_path)))
    assert capsys.readouterr().err == f"error: {file.format(folder=tmp_path)}: No such file or directory\n"


@pytest.mark.parametrize("file", ["{folder}/state/templates/x", "x.lua", "{package}/nothing.sql", "{prefix}/nothing", "/nowhere"])
@pytest.mark.parametrize("argument", ["serve", "{folder}/project", "{prefix}", "--folder={package}"])
def test_a_file_that_nobody_named_is_a_defect(tmp_path, monkeypatch, file, argument) -> None:
    """It passes with its traceback: also one of the platform's own, whatever was named."""
    words = {"folder": tmp_path, "prefix": sys.prefix, "package": stylobate.__path__[0]}
    place(tmp_path, monkeypatch, argument.format(**words), {"STYLOBATE_MODULES": "modules"})
    error = named(Path(file.format(**words)))
    with pytest.raises(FileNotFoundError) as raised, plain_errors():
        raise error
    assert raised.value is error


def place(folder: Path, monkeypatch: pytest.MonkeyPatch, argument: str, environ: dict[str, str]) -> None:
    """Stand in the folder, called with the argument and in the environment."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["stylobate", *([argument.format(folder=folder)] if argument else [])])
    for name in [name for name in os.environ if name.startswith("STYLOBATE_") or name in {"TMPDIR", "XDG_RUNTIME_DIR"}]:
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value.format(folder=folder))


def test_an_error_out_of_a_task_group_is_plain_too(capsys) -> None:
    """A start that fails in one of several tasks says the same as if it were alone."""

    async def fails() -> None:
        raise ConfigError(["STYLOBATE_X: bad"])

    async def start() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            group.create_task(asyncio.sleep(60))

    with pytest.raises(SystemExit), plain_errors():
        asyncio.run(start())
    assert capsys.readouterr().err == "error: STYLOBATE_X: bad\n"
