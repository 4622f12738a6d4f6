"""Several operations at once: all of them happen, in one statement, or nothing does."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

from stylobate.errors import InvalidInputError, StylobateError, Violation

from stylobate_state.change_request import ChangeRequest
from stylobate_state.errors import StateContendedError
from stylobate_state.model import MAX_BYTES, NotUnique, Refused, StateKey, StateRecord, TooLong, Write, Written
from stylobate_state.state_reader import StateReader
from stylobate_state.state_writer import MAX_TRIES, StateWriter

MAX_OPERATIONS = 50
_PLACE = "/operations"


@contextmanager
def named(index: int) -> Iterator[None]:
    """Let whatever an operation is refused with say which one it was; its places are those within the operation."""
    try:
        yield
    except StylobateError as error:
        error.metadata["index"] = str(index)
        raise


def check_count(operations: Sequence[object]) -> None:
    """Raise InvalidInputError for none, or too many."""
    if not operations:
        raise InvalidInputError(violations=[Violation(_PLACE, "must not be empty")])
    if len(operations) > MAX_OPERATIONS:
        raise InvalidInputError(violations=[Violation(_PLACE, f"has more than {MAX_OPERATIONS} entries")])


class TransactionWriter:
    """Carries out operations on different objects, with the steps of a StateWriter."""

    def __init__(self, writer: StateWriter, reader: StateReader) -> None:
        self._writer = writer
        self._reader = reader
        self._numbers = count()

    async def change(self, requests: Sequence[ChangeRequest]) -> list[StateRecord]:
        """Do the operations and return the objects as they stand then (tombstones for deletions).

        Each that does not say which version it saw is made anew from what stands there when another was faster, and all others
        with it.

        :param requests: the first has the claim of all.
        :raises StylobateError: of the first operation that is refused, with its ``index``; nothing was written.
        """
        _check_distinct([request.key for request in requests])
        async with self._writer.turns(requests):
            for attempt in range(MAX_TRIES):
                if attempt:
                    await self._writer.pause_before(attempt)
                group = await self._group(requests)
                outcomes = await self._writer.submit(group)
                if isinstance(outcomes[0], Written):
                    done = [write.as_written(one) for write, one in zip(group, outcomes, strict=True) if isinstance(one, Written)]
                    self._writer.keep(done)
                    return done
                lost = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, Refused)]
                for index, outcome in enumerate(outcomes):
                    if isinstance(outcome, (NotUnique, TooLong)) and not lost:  # else the holder may be one that is to give it up
                        with named(index):
                            raise await self._writer.beyond_index(requests[index], outcome)
                if bound := [index for index in lost if requests[index].expected is not None]:
                    with named(bound[0]):
                        raise await self._writer.conflict(requests[bound[0]])
        with named(lost[0]):
            raise StateContendedError(requests[lost[0]].key.namespace, requests[lost[0]].key.key)

    async def _group(self, requests: Sequence[ChangeRequest]) -> list[Write]:
        """Read, decide on each in order, then ask before-hooks in order."""
        seen = await self._reader.each([request.key for request in requests])
        decided = []
        size = 0
        for index, (request, present) in enumerate(zip(requests, seen, strict=True)):
            with named(index):
                decided.append(await self._writer.decide(request, present))
            size += len(decided[-1].draft.data)
        if size > MAX_BYTES:
            detail = f"would leave objects of more than {MAX_BYTES} bytes together; change fewer at a time"
            raise InvalidInputError(violations=[Violation(_PLACE, detail)])
        number = next(self._numbers) % 0x7FFF_FFFF + 1
        group = []
        for index, (request, one) in enumerate(zip(requests, decided, strict=True)):
            with named(index):
                group.append(replace(await self._writer.consult(request, one), group=number))
        return group


def _check_distinct(keys: Sequence[StateKey]) -> None:
    first: dict[StateKey, int] = {}
    for index, key in enumerate(keys):
        before = first.setdefault(key, index)
        if before != index:
            with named(index):
                detail = f"is that of operation {before} too; a transaction changes an object once"
                raise InvalidInputError(violations=[Violation("/key", detail)])
