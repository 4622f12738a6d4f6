"""One order explains all that clients of state are told, whatever is killed meanwhile."""

import math
from collections.abc import Iterator
from datetime import timedelta

import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import ROOT
from tests.faults.cells import Cells
from tests.faults.serial import Histories, Operation, Outcome, check

WITHIN = timedelta(seconds=60)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a split platform."""
    unheld = {"STYLOBATE_RATELIMIT_EDGE_IP": "6000/second", "STYLOBATE_RATELIMIT_EDGE_USER": "6000/second"}
    folder, cells = tmp_path_factory.mktemp("cells"), ROOT / "tests" / "modules" / "cells"
    with Platform.run(folder, "--split", modules=[cells], environ=unheld) as running:
        yield running


def kill_in_turns(platform: Platform, cells: Cells, rounds: int) -> None:
    """Kill each of what a change passes, as soon as changes are answered again; then let some more pass."""
    for victim in ("state", "valkey", "postgres") * rounds:
        killed, goal = platform.kill(victim), len(cells) + 40
        assert wait_until(lambda k=killed, v=victim: (c := platform.children.get(v)) is not None and c.pid != k.pid, WITHIN)
        assert wait_until(lambda goal=goal: len(cells) >= goal, WITHIN), cells.met


def test_one_order_explains_all_answers(platform: Platform) -> None:
    """Reads, writes, transitions and transactions of four clients on three objects: no answer contradicts another."""
    with Cells(platform) as cells:
        kill_in_turns(platform, cells, 1)
    said = cells.check()
    assert all(
        any(told.startswith(f"{what}: done") for told in cells.met) for what in ("get", "put", "put if", "turn", "transaction")
    ), said


@pytest.mark.soak
def test_one_order_explains_all_answers_for_long(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """The same with eight clients, round after round; prints what was counted."""
    with Cells(platform, clients=8) as cells:
        kill_in_turns(platform, cells, 20)
    said = cells.check()
    with capsys.disabled():
        print(f"\n60 kills; {said}; violations: 0")  # noqa: T201  the figures


def done(mark: str, began: float, ended: float, *, reads: dict[str, tuple[int, str]] | None = None, **writes: int) -> Operation:
    """Return an operation that was answered."""
    keys = [*(reads or {}), *writes]
    return Operation(mark, keys, began, ended, Outcome.DONE, reads or {}, writes)


FIRST = [done("w1", 0, 1, a=1), done("w2", 0, 1, b=1)]
"""What makes the two objects of the histories below."""


@pytest.mark.parametrize(
    ("operations", "histories", "said"),
    [
        pytest.param([done("w3", 2, 3, a=2)], {"a": ["w1"], "b": ["w2"]}, "there is {}", id="a lost write"),
        pytest.param(
            [Operation("w3", ["a"], 2, 3, Outcome.REFUSED)], {"a": ["w1", "w3"], "b": ["w2"]}, "refused", id="refused, and done"
        ),
        pytest.param([Operation("w3", ["a", "b"], 2)], {"a": ["w1", "w3"], "b": ["w2"]}, "by half", id="half a transaction"),
        pytest.param([done("w3", 2, 3, a=2)], {"a": ["w1", "w3", "w3"], "b": ["w2"]}, "2 times", id="written twice"),
        pytest.param([], {"a": ["w1", "w9"], "b": ["w2"]}, "nobody wrote", id="out of nowhere"),
        pytest.param(
            [done("w3", 2, 3, a=2), done("r1", 4, 5, reads={"a": (1, "w1")})],
            {"a": ["w1", "w3"], "b": ["w2"]},
            "no order",
            id="a stale read",
        ),
        pytest.param(
            [Operation("w3", ["a"], 2), done("r1", 3, 4, reads={"a": (2, "w3")}), done("r2", 5, 6, reads={"a": (1, "w1")})],
            {"a": ["w1", "w3"], "b": ["w2"]},
            "no order",
            id="a read that goes back",
        ),
        pytest.param(
            [done("w3", 2, 9, a=2, b=2), done("r1", 3, 4, reads={"a": (2, "w3")}), done("r2", 5, 6, reads={"b": (1, "w2")})],
            {"a": ["w1", "w3"], "b": ["w2", "w3"]},
            "no order",
            id="a transaction seen by half",
        ),
        pytest.param([done("r1", 2, 3, reads={"a": (1, "w9")})], {"a": ["w1"], "b": ["w2"]}, "read 'w9'", id="other data"),
    ],
)
def test_what_cannot_be_is_found(operations: list[Operation], histories: Histories, said: str) -> None:
    """The check fails for each kind of violation."""
    with pytest.raises(AssertionError, match=said):
        check([*FIRST, *operations], histories)


def test_what_can_be_passes() -> None:
    """Operations at the same time may have happened in any order; what nobody was told of may have happened or not."""
    meanwhile = [
        done("w3", 2, 9, a=2, b=2),
        done("r1", 2, 9, reads={"a": (1, "w1")}),
        done("r2", 2, 9, reads={"b": (2, "w3")}),
        Operation("w4", ["a"], 3, math.inf),
        Operation("w5", ["b"], 3, math.inf),
        Operation("w6", ["b"], 3, 4, Outcome.REFUSED),
    ]
    check([*FIRST, *meanwhile], {"a": ["w1", "w3", "w4"], "b": ["w2", "w3"]})
