"""Errors that a person can mend are one line each; defects keep their traceback."""

import asyncio

import pytest
from stylobate.app.listening import PortInUseError
from stylobate.config import ConfigError
from stylobate.errors import InvalidInputError, Violation
from stylobate.launcher.faces import CommandError, plain_errors


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
