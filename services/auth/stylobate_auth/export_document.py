"""The document that an export is: JSON with a section for each part, made bit by bit."""

from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from datetime import datetime

import orjson
from stylobate.errors import StylobateError

FORMAT = "stylobate.user-export/1"
_PART_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Told:
    """Something of a section: an item, or that there are no more. Sections come one after the other."""

    source: str
    """Which part of the platform: ``auth``, ``audit``, ``ratelimit``, ``state`` or ``modules``."""
    name: str
    """Which section of it."""
    item: bytes = b""
    """JSON of an object; empty: the section is at its end."""
    reason: str = ""
    """At the end: of the error that kept it from being told to its end."""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """The next bytes of the document."""

    text: bytes
    failures: tuple[Told, ...] = ()
    """In the last part: the ends of sections that are not complete."""


async def section(source: str, name: str, items: AsyncIterable[object]) -> AsyncGenerator[Told, None]:
    """Tell a section; an error of the items ends it and nothing else."""
    end = Told(source, name)
    try:
        async for item in items:
            yield Told(source, name, orjson.dumps(item, option=orjson.OPT_UTC_Z))
    except StylobateError as error:
        end = Told(source, name, reason=error.reason, detail=error.detail)
    yield end


async def document(user_id: str, at: datetime, told: AsyncIterable[Told]) -> AsyncGenerator[Part, None]:
    """Make the document of what is told. A section without items and without an error is left out."""
    head = {"format": FORMAT, "user_id": user_id, "exported_at": at}
    buffer = bytearray(orjson.dumps(head, option=orjson.OPT_UTC_Z)[:-1] + b',"sections":[')
    failures = list[Told]()
    is_first, here = True, False  # whether no section was begun yet, and whether one is open
    async for one in told:
        if not here and (one.item or one.reason):
            begin = orjson.dumps({"source": one.source, "name": one.name})
            buffer += (b"" if is_first else b",") + begin[:-1] + b',"items":['
            is_first = False
        elif one.item:
            buffer += b","
        if here or one.item or one.reason:
            buffer += one.item or _end(one)
        here = bool(one.item)
        if one.reason:
            failures.append(one)
        if len(buffer) >= _PART_BYTES:
            yield Part(bytes(buffer))
            buffer.clear()
    buffer += b'],"complete":' + orjson.dumps(not failures) + b"}\n"
    yield Part(bytes(buffer), tuple(failures))


def _end(one: Told) -> bytes:
    end = {"complete": not one.reason, "reason": one.reason or None, "detail": one.detail or None}
    return b"]," + orjson.dumps(end)[1:]
