"""Whether what clients were told can be true: one order of all operations explains every answer (strict serializability).

Objects have versions that rise by one, so the order of the writes to each is known. What remains is a graph: the writes of a key
in their order; a read behind the write that it saw and before the next one; what ended before something else began before that.
It has no cycle exactly when there is an order of all (Adya's direct serialization graph, with the real-time edges of Elle).
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from graphlib import CycleError, TopologicalSorter
from typing import Any


class Outcome(Enum):
    """What became of an operation, as far as its client knows."""

    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    """It may have happened, and may happen yet."""


@dataclass
class Operation:
    """What one client did, and heard."""

    mark: str
    """Of this operation alone; what it writes carries it."""
    keys: Sequence[str]
    began: float
    """Of one clock for all clients."""
    ended: float = math.inf
    outcome: Outcome = Outcome.UNKNOWN
    reads: dict[str, tuple[int, str]] = field(default_factory=dict)
    """By key, the version that was read and the mark that it carried."""
    writes: dict[str, int] = field(default_factory=dict)
    """By key, the version that was made."""


Histories = Mapping[str, Sequence[str]]
"""By key, the marks of all versions, from version 1 on."""


def check(operations: Iterable[Operation], histories: Histories) -> None:
    """Raise AssertionError when the histories and the answers cannot both be true."""
    known = [_placed(operation, histories) for operation in operations]
    happened = [operation for operation in known if operation.outcome is Outcome.DONE]
    writers: dict[tuple[str, int], Operation] = {}
    for operation in happened:
        for key, version in operation.writes.items():
            other = writers.setdefault((key, version), operation)
            assert other is operation, f"{key} version {version} is {other.mark}'s and {operation.mark}'s"
    nobodys = [
        (key, number) for key, marks in histories.items() for number in range(1, len(marks) + 1) if (key, number) not in writers
    ]
    assert not nobodys, f"nobody wrote {nobodys[:5]}"
    _check_order(happened, writers)


def _placed(operation: Operation, histories: Histories) -> Operation:
    """Return the operation as the histories show it. Raises AssertionError for answers that they contradict."""
    mark = operation.mark
    found: dict[str, int] = {}
    for key in operation.keys:
        versions = [number for number, other in enumerate(histories[key], 1) if other == mark]
        assert len(versions) <= 1, f"{mark} wrote {key} {len(versions)} times: {versions}"
        if versions:
            found[key] = versions[0]
    for key, (version, seen) in operation.reads.items():
        assert 1 <= version <= len(histories[key]), f"{mark} read version {version} of {key}, which has {len(histories[key])}"
        there = histories[key][version - 1]
        assert seen == there, f"{mark} read {seen!r} as version {version} of {key}, which is {there!r}"
    if operation.outcome is Outcome.UNKNOWN and found:
        assert found.keys() == set(operation.keys), f"{mark} was done by half: {found} of {operation.keys}"
        operation.writes, operation.outcome = found, Outcome.DONE
    elif operation.outcome is Outcome.UNKNOWN:
        operation.outcome = Outcome.REFUSED
    assert operation.writes == found, f"{mark} was {operation.outcome.value} with {operation.writes}; there is {found}"
    return operation


def _check_order(happened: Sequence[Operation], writers: Mapping[tuple[str, int], Operation]) -> None:
    graph: TopologicalSorter[Any] = TopologicalSorter()
    for operation in happened:
        for key, version in operation.writes.items():
            if (before := writers.get((key, version - 1))) is not None:
                graph.add(operation.mark, before.mark)
        for key, (version, _) in operation.reads.items():
            graph.add(operation.mark, writers[key, version].mark)
            if (after := writers.get((key, version + 1))) is not None:
                graph.add(after.mark, operation.mark)
    # instead of an edge for each pair: every end is a point of a line, and what begins comes behind the last point before it
    ends = sorted((operation for operation in happened if operation.ended < math.inf), key=lambda operation: operation.ended)
    times = [operation.ended for operation in ends]
    for number, operation in enumerate(ends):
        graph.add(number, operation.mark, *([number - 1] if number else []))
    for operation in happened:
        if (earlier := bisect_left(times, operation.began)) > 0:
            graph.add(operation.mark, earlier - 1)
    try:
        graph.prepare()
    except CycleError as error:
        cycle = [mark for mark in error.args[1] if isinstance(mark, str)]
        told = {operation.mark: operation for operation in happened}
        raise AssertionError("no order explains:\n" + "\n".join(str(told[mark]) for mark in dict.fromkeys(cycle))) from None
