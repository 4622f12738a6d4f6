"""Logs: what is redacted, what cannot be forged, levels at run time, rotation."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from stylobate.logs import Logs, configure, get_logger, log_request
from stylobate.logs.access import RequestLine
from stylobate.logs.printed import PrintedLines
from stylobate.testing.logs import kept_logging

Records = Callable[[], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Leave the process's logging as other tests expect it."""
    with kept_logging():
        yield


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    """Return JSON logging into a file."""
    made = configure(json=True, file=tmp_path / "log", origin={"service": "test"})
    yield made
    made.close()


@pytest.fixture
def records(logs: Logs, tmp_path: Path) -> Records:
    """Return a function that closes the logs and reads what was written."""

    def read() -> list[dict[str, Any]]:
        logs.close()
        return [json.loads(line) for line in (tmp_path / "log").read_text(encoding="utf-8").splitlines()]

    return read


def test_what_is_printed_becomes_lines(records: Records) -> None:
    """Whole lines of each thread, whatever pieces they were printed in; what is begun comes with a flush; long ones in parts."""
    printed = PrintedLines()
    printed.write("begun ")
    other = threading.Thread(target=lambda: print("by another", "thread", file=printed))
    other.start()
    other.join()
    print("and ended\n\nforged\x1b[2K", {"a": 1}, file=printed)
    print("no end", end="", file=printed, flush=True)
    print("x" * 20_000, file=printed)
    found = [record for record in records() if record["event"] == "printed"]
    texts = [record["text"] for record in found]
    assert texts[:4] == [
        "by another thread",
        "begun and ended",
        "forged\\x1b[2K {'a': 1}",
        "no end",
    ]
    assert "".join(texts[4:]) == "x" * 20_000
    assert {record["logger"] for record in found} == {"app"}


def test_a_record_says_what_where_when_and_who(records: Records) -> None:
    """Event, logger, level, caller, service and time stand in every record."""
    get_logger("audit").info("role_given", role="staff")
    (record,) = records()
    assert record["event"] == "role_given"
    assert record["logger"] == "audit"
    assert record["level"] == "info"
    assert record["filename"] == "test_logs.py"
    assert record["service"] == "test"
    assert record["timestamp"].endswith("Z")


@pytest.mark.parametrize("key", ["password", "refresh_token", "Authorization", "api_key", "signing_secret", "cookie"])
def test_values_of_secret_keys_are_redacted(key: str, records: Records) -> None:
    """Also inside nested values."""
    get_logger().info("x", **{key: "hush"}, nested={"inner": [{key: "hush"}]})
    assert "hush" not in json.dumps(records())


def test_tokens_inside_texts_are_redacted(records: Records) -> None:
    """A bearer header, a JWT and a password in an address never reach the file, wherever they stand."""
    get_logger().info("x", a="sent Bearer abc.def.ghi", b="got eyJhbGciOi.eyJzdWIi.c2ln", c="postgresql://u:hush@host/db")
    get_logger().info("x", d="stylo_prod_01a20883000070008000000000000000_SecretSecret sent", e=["stylo_dev_01a2_SecretSecret"])
    text = json.dumps(records())
    assert "SecretSecret" not in text
    assert "abc.def" not in text
    assert "eyJzdWIi" not in text
    assert "hush" not in text


def test_control_characters_cannot_forge_lines_or_colours(records: Records) -> None:
    """Newlines, escapes, lone surrogates and what turns the direction of writing become visible characters of one line."""
    turned = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"
    get_logger().info("x", text='a\n{"event":"forged"}\x1b[31m\u2028\udc80 äö €', turned=turned, deep={turned: [turned]})
    found = records()
    assert len(found) == 1
    shown = "".join(f"\\x{ord(character):02x}" for character in turned)
    assert (found[0]["turned"], found[0]["deep"]) == (shown, {shown: [shown]})
    assert found[0]["text"] == 'a\\x0a{"event":"forged"}\\x1b[31m\\x2028\\xdc80 äö €'


def test_levels_change_at_run_time_for_one_logger(logs: Logs, records: Records) -> None:
    """Quieting access leaves app as it was."""
    logs.set_level("error", "access")
    get_logger("access").info("quiet")
    get_logger("app").info("heard")
    assert logs.levels()["access"] == "ERROR"
    assert [record["event"] for record in records()] == ["heard"]


def test_an_unknown_level_or_logger_is_refused(tmp_path: Path, logs: Logs) -> None:
    """A typo does not silence anything."""
    with pytest.raises(ValueError, match="LOUD"):
        logs.set_level("loud")
    with pytest.raises(ValueError, match="acess"):
        configure(level="info,acess=debug", file=tmp_path / "other")


def test_exceptions_keep_their_lines(records: Records) -> None:
    """A traceback is one field of one record."""
    try:
        raise ValueError("broken")
    except ValueError:
        get_logger().exception("failed")
    (record,) = records()
    assert record["exception"].splitlines()[-1] == "ValueError: broken"


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("how", ["stylobate", "standard", "structlog"])
def test_tracebacks_are_plain(tmp_path: Path, capfd: pytest.CaptureFixture[str], how: str, *, as_json: bool) -> None:
    """Whoever logs an exception, for machines or for people: Python's own lines, without the values of variables."""

    def handler(key: str) -> None:
        raise ValueError("broken", len(key))

    made = configure(json=as_json)
    try:
        handler("hush" * 3)
    except ValueError:
        match how:
            case "stylobate":
                get_logger("app").exception("failed")
            case "standard":
                logging.getLogger("some.library").exception("failed")
            case _:
                structlog.get_logger().exception("failed")
    made.close()
    written = "".join(capfd.readouterr())
    assert "Traceback (most recent call last)" in written
    assert "in handler" in written
    assert "ValueError: ('broken', 12)" in written
    assert "hushhush" not in written
    assert not set(written) & set("│╭╰❱")


def test_files_are_rotated(tmp_path: Path) -> None:
    """A full file is put aside and only so many are kept."""
    made = configure(json=True, file=tmp_path / "log", max_bytes=2000, keep=2)
    for number in range(100):
        get_logger().info("line", number=number)
    made.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]


LINE = RequestLine(1_800_000_000.25, "r-1", "GET", "/a", 200, 0.0125, "ann", "192.0.2.1", "ab" * 16, "")
UNUSUAL = {
    "plain": {},
    "an error": {"status": 403, "code": "PERMISSION_DENIED"},
    "not ASCII": {"path": "/gr\u00f6\u00dfe/\u4e2d"},
    "a forged line": {"path": '/a\n{"event": "request"}'},
    "quotes": {"path": '/a"b\\c'},
    "a token in the path": {"path": "/eyJhbGci.eyJzdWIi.c2ln"},
    "a token as an id": {"request_id": "eyJhbGci.eyJzdWIi.c2ln"},
    "words like a header": {"path": "/Bearer abc.def"},
    "a URL with a password": {"path": "/http://ann:hush@x/"},
    "invisible": {"path": "/a\u202eb"},
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_access_line_is_written_like_any_record(records: Records, name: str) -> None:
    """The quick way writes what the long way does: time, logger, service, and neither tokens nor forged lines."""
    line = LINE._replace(**UNUSUAL[name])
    log_request(line)
    logging.getLogger("stylobate.access").setLevel("INFO")
    get_logger("access").info("request", **line.facts())
    quick, plain = records()
    assert quick.pop("timestamp") == "2027-01-15T08:00:00.250000Z"
    for key in ("timestamp", "filename", "lineno"):
        plain.pop(key, None)
    assert quick == plain
    assert not {"hush", "abc.def"} & set(str(quick).replace("@", " ").replace(":", " ").split())


def test_a_quieted_access_log_stays_quiet(logs: Logs, records: Records) -> None:
    """The level holds for the quick way too."""
    logs.set_level("warning", "access")
    log_request(LINE)
    assert records() == []


def test_records_of_many_threads_are_all_written_in_order(records: Records) -> None:
    """Nothing is lost between the queue and the file, and each thread's records keep their order."""

    def write(name: int) -> None:
        for number in range(500):
            get_logger().info("line", thread_number=name, number=number)

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = records()
    for name in range(4):
        assert [record["number"] for record in found if record["thread_number"] == name] == list(range(500))


def test_a_record_that_cannot_be_rendered_does_not_silence_the_others(tmp_path: Path) -> None:
    """The writer says so and goes on."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("broken")

        __str__ = __repr__

    made = configure(json=True, file=tmp_path / "log")
    get_logger().info("first", value=Broken())
    get_logger().info("second")
    made.close()
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert "could not be rendered" in lines[0]
    assert json.loads(lines[1])["event"] == "second"
