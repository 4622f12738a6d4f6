"""The chain of a service's audit records: blocks, each with a hash over its records and the block before it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import orjson

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)


class Mark(NamedTuple):
    """A moment: the last number of a record that was drawn, and the transaction id that was the next one after that."""

    seq: int
    xid: int


@dataclass(frozen=True, slots=True)
class Sealed:
    """What the records of a block are, as they are found."""

    last_seq: int
    last_id: str
    count: int
    first_time: datetime
    last_time: datetime
    digests: bytes
    """SHA-256 of each record, in order."""


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of records as it was sealed."""

    number: int
    """From 1, without gaps."""
    last_seq: int
    last_id: str
    count: int
    first_time: datetime
    last_time: datetime
    hash: bytes
    is_deleted: bool = False
    """Whether retention took away its records and all before them."""


def block_hash(service: str, number: int, before: bytes, found: Sealed) -> bytes:
    """Return a block's hash: SHA-256 over the hash of the block before it, what it says of itself, and its records."""
    times = [(time - _EPOCH) // _US for time in (found.first_time, found.last_time)]
    says = orjson.dumps([service, number, found.last_seq, found.last_id, found.count, *times])
    return hashlib.sha256(before + says + found.digests).digest()


class Fault(NamedTuple):
    """Something that is not as it was sealed."""

    block: int
    """The first block that it shows in."""
    what: str
    """In a sentence's end: ``one of 12 records is missing``."""


class Stretch(NamedTuple):
    """Blocks that follow each other, and the records that stand between their ends now."""

    before: Block | None
    """The block before them; None: they begin the chain."""
    blocks: Sequence[Block]
    found: Sequence[Sealed | None]
    """By block; None: no records."""
    stray: int
    """Records that stand where retention took all away."""
    head: Block | None
    """The newest block of all."""
    unsealed: int
    """Records behind it."""


def faults(service: str, stretch: Stretch) -> Iterator[Fault]:
    """Yield what is not as it was sealed, in order."""
    before = stretch.before
    if stretch.stray and before is not None:
        yield Fault(before.number, f"{stretch.stray} records stand where retention took all away")
    for block, found in zip(stretch.blocks, stretch.found, strict=True):
        number = before.number if before else 0
        if block.number != number + 1:
            yield Fault(number + 1, f"the seals of blocks {number + 1} to {block.number - 1} are missing")
        elif fault := _fault(service, block, before.hash if before else b"", found):
            yield fault
        before = block


def _fault(service: str, block: Block, before: bytes, found: Sealed | None) -> Fault | None:
    count = found.count if found else 0
    if count != block.count:
        return Fault(block.number, f"it was sealed with {block.count} records, of {_times(block)}; {count} are there")
    as_sealed = found and replace(
        found, last_seq=block.last_seq, last_id=block.last_id, first_time=block.first_time, last_time=block.last_time
    )
    if as_sealed is None or block_hash(service, block.number, before, as_sealed) != block.hash:
        return Fault(block.number, f"one of its {block.count} records, of {_times(block)}, or its seal was changed")
    return None


def _times(block: Block) -> str:
    return f"{block.first_time:%Y-%m-%d %H:%M:%S} to {block.last_time:%Y-%m-%d %H:%M:%S}"


class AuditChain(Protocol):
    """Where records are sealed. Every method raises UnavailableError when the store does not answer."""

    async def mark(self) -> Mark:
        """Return where the records end now."""

    async def is_past(self, mark: Mark) -> bool:
        """Return whether no record with a number up to the mark's can come any more."""

    async def seal(self, mark: Mark, most: int) -> Block | None:
        """Seal the next records up to the mark's, in one atomic step; None where there is nothing to seal.

        The mark must be past. Of any number of processes that do it at once one makes a block; the others return it too.

        :param most: records of a block. One step may make several; the newest is returned.
        """

    async def head(self) -> Block | None:
        """Return the newest block."""

    async def stretch(self, after: int, blocks: int) -> Stretch:
        """Return blocks behind a number (0: from the beginning, or from where retention ended), all of one moment."""

    async def block(self, number: int) -> Block | None:
        """Return a block; None: it is not kept."""

    async def delete(self, older_than: timedelta, blocks: int) -> int:
        """Delete the records of the oldest blocks, as far as they are older; return how many records that was.

        :param blocks: how many of them at most.

        The last of the blocks stays as what the rest hangs on, and a record tells of it, all in one step.
        """
