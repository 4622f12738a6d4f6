"""`stylobate logs`: the last lines, then whatever comes, across rotations."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from stylobate.launcher.commands.logs import Tail, logs
from stylobate.launcher.faces import CommandError


@pytest.fixture
def tail_of() -> Iterator[Callable[[Path], Tail]]:
    """Give a way to follow a file; it is closed afterwards."""
    with ExitStack() as stack:
        yield lambda path: stack.enter_context(closing(Tail(path)))


def append(path: Path, text: str) -> None:
    """Write on."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def test_lines_come_once_and_whole(tmp_path, tail_of) -> None:
    """A line that is being written is not shown before its end, nor twice."""
    path = tmp_path / "a.log"
    tail = tail_of(path)
    assert list(tail.lines()) == []
    append(path, "one\ntw")
    assert list(tail.lines()) == ["one"]
    assert list(tail.lines()) == []
    append(path, "o\nthree\n")
    assert list(tail.lines()) == ["two", "three"]


def test_nothing_is_lost_by_a_rotation(tmp_path, tail_of) -> None:
    """What was written to the old file after the last look is shown, then the new one from its beginning, however long it is."""
    path = tmp_path / "a.log"
    append(path, "one\n")
    tail = tail_of(path)
    assert list(tail.lines()) == ["one"]
    append(path, "two\n")
    path.rename(tmp_path / "a.log.1")
    assert list(tail.lines()) == ["two"]
    append(path, "three, which is longer than all before\n")
    assert list(tail.lines()) == ["three, which is longer than all before"]
    append(path, "four\n")
    path.rename(tmp_path / "a.log.2")
    append(path, "five\n")
    assert list(tail.lines()) == ["four", "five"]


def test_an_emptied_file_begins_anew(tmp_path, tail_of) -> None:
    """Also when somebody truncates it in place."""
    path = tmp_path / "a.log"
    append(path, "one\ntwo\n")
    tail = tail_of(path)
    assert deque(tail.lines(), maxlen=1)[0] == "two"
    path.write_text("new\n")
    assert list(tail.lines()) == ["new"]


def test_bytes_that_are_no_text_are_shown_as_well_as_can_be(tmp_path, tail_of) -> None:
    """A broken line stops nothing."""
    path = tmp_path / "a.log"
    path.write_bytes(b"\xff\xfe\n\xc3\xa4\n")
    assert list(tail_of(path).lines()) == ["\ufffd\ufffd", "ä"]


def test_the_last_lines_of_each_file_are_shown(project, capsys) -> None:
    """With the name of the process before them; none at all on wish."""
    project.logs.mkdir(parents=True)
    for name in ("auth", "state"):
        append(project.logs / f"{name}.log", "one\ntwo\nthree\n")
    logs(follow=False, lines=2)
    assert capsys.readouterr().out.split() == ["auth", "two", "auth", "three", "state", "two", "state", "three"]
    logs(follow=False, lines=0)
    assert capsys.readouterr().out == ""


def test_where_nothing_ran_there_are_no_logs(project) -> None:
    """The command says what would write them."""
    with pytest.raises(CommandError, match="`stylobate up` writes them"):
        logs(follow=False, lines=1)
