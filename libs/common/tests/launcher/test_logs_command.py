"""`stylobate logs`: the last lines, then whatever comes, across rotations."""

import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from stylobate.launcher.commands.logs import logs
from stylobate.launcher.log_files import Tail
from stylobate.launcher.output import CommandError


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


def logged(time: str, event: str, **facts: object) -> str:
    """Return a line as the platform writes it."""
    return json.dumps({"timestamp": f"2026-01-01T{time}Z", "level": "info", "logger": "app", "event": event} | facts) + "\n"


def test_all_files_are_one_story(project, capsys) -> None:
    """Lines of all processes and servers stand by their time, what was merely printed stands where it came, as it came."""
    project.logs.mkdir(parents=True)
    append(project.logs / "auth.log", logged("00:00:01.5", "third") + logged("00:00:04", "sixth"))
    append(project.logs / "state.log", logged("00:00:01", "second"))
    append(project.logs / "state.out", "zeroth, printed\n")
    os.utime(project.logs / "state.out", (0, 0))
    append(project.logs / "postgres.log", "2026-01-01 00:00:02.000 UTC [1] LOG:  fourth\n\tdetail\n")
    append(project.logs / "valkey.log", "12:M 01 Jan 2026 00:00:00.500 * first\n7:C 01 Jan 2026 00:00:03.000 # fifth\n")
    logs(follow=False, lines=100, as_json=False)
    shown = capsys.readouterr().out.splitlines()
    words = ("zeroth", "first", "second", "third", "fourth", "detail", "fifth", "sixth")
    assert [next(word for word in words if word in line) for line in shown] == list(words)
    assert shown[2].split() == ["00:00:01", "state", "second"]


def test_the_last_lines_are_those_that_came_last(project, capsys) -> None:
    """Of all files together; none at all on wish."""
    project.logs.mkdir(parents=True)
    append(project.logs / "auth.log", logged("00:00:01", "one") + logged("00:00:04", "four"))
    append(project.logs / "state.log", logged("00:00:02", "two") + logged("00:00:03", "three"))
    logs(follow=False, lines=3, as_json=True)
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["two", "three", "four"]
    logs(follow=False, lines=0, as_json=False)
    assert capsys.readouterr().out == ""


def test_a_traceback_is_shown_as_it_is(project, capsys) -> None:
    """With its line ends, after the event; a request is one line; values of any type do no harm."""
    project.logs.mkdir(parents=True)
    trace = "Traceback (most recent call last):\n  File x\nValueError: [no] markup"
    request = {"method": "GET", "path": "/v1/[x]", "status": 200, "ms": 1.5, "logger": "access", "subject": ""}
    failed = logged("00:00:01", "failed", level="error", exception=trace, findings=["a", {"b": None}], event_id=None)
    append(project.logs / "a.log", failed + logged("00:00:02", "request", **request))
    logs(follow=False, lines=9, as_json=False)
    shown = capsys.readouterr().out
    assert trace in shown
    assert "error  failed  findings=['a', {'b': None}]\n" in shown
    assert shown.splitlines()[-1].split(maxsplit=2)[2] == "GET /v1/[x]  200  1.5 ms"


def test_where_nothing_ran_there_are_no_logs(project) -> None:
    """The command says what would write them."""
    with pytest.raises(CommandError, match="`stylobate up` writes them"):
        logs(follow=False, lines=1, as_json=False)
