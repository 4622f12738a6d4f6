"""Packs: records that are written together, in one document.

Every call of an action leaves a record. As a document of its own, with its entries in four indexes and changed once more when it
is sealed, each costs the server 80 us. What names no target and has no detail, which is what calls leave, is packed where some
come together: of one tenant, of one minute at most, so that a reader knows how far to look.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from heapq import nlargest
from operator import attrgetter
from typing import Any

import orjson
from bson.int64 import Int64

from stylobate.audit.query import LAST_ID, AuditPage, AuditQuery, Place
from stylobate.audit.record import AuditRecord, Outcome
from stylobate.database.mongodb import Document, MongoManager, from_micros, micros
from stylobate.errors import ValueRefusedError
from stylobate.logs import get_logger

PACKS = "audit_pack"
SCANNED = 10_000
"""How many records one reading looks at."""
NO_BLOCK = Int64(0)
OUTCOMES = frozenset(Outcome)
_FEWEST = 8
"""Records that make a pack."""
_WIDEST = timedelta(minutes=1)
_WIDEST_US = _WIDEST // timedelta(microseconds=1)
FIRST_US, END_US = 0, 1 << 56
"""What the time of a record can be: as far as its position can tell. Any other was written by somebody else."""
_COLUMNS = 8
_ID = re.compile(r"[0-9a-f-]{36}")
_MOST_BYTES = 4 * 1024 * 1024
_MOST_READ = 16
"""Packs in one message."""
_log = get_logger("audit")
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MEMBERS = attrgetter("id", "time", "actor", "via", "action", "outcome", "reason", "request_id")
_Row = tuple[str, str, str, str, str, str, str, str]


def packed(records: Sequence[AuditRecord]) -> tuple[list[Document], list[AuditRecord]]:
    """Return packs of what can be packed, and the other records. Raises TypeError, and ValueRefusedError."""
    packs: list[Document] = []
    alone: list[AuditRecord] = []
    by_tenant: defaultdict[str, list[AuditRecord]] = defaultdict(list)
    for record in records:
        (alone if record.target or record.detail else by_tenant[record.tenant]).append(record)
    for tenant, some in by_tenant.items():
        pack = _pack(tenant, some) if len(some) >= _FEWEST else None
        if pack is None:
            alone += some
        else:
            packs.append(pack)
    return packs, alone


def time_of(count: int) -> datetime:
    """Return the time that a count of microseconds says; the first or the last one there is, where it lies beyond."""
    return from_micros(min(max(count, FIRST_US), END_US))


def check_text(text: bytes) -> None:
    """Raise ValueRefusedError where JSON says a NUL, which no other store keeps."""
    if b"\\u0000" in text and _NUL.search(text):
        raise ValueRefusedError


def pack_digest(pack: Document) -> bytes:
    """Return the SHA-256 of what a pack says."""
    return hashlib.sha256(_head(pack) + pack["records"]).digest()


async def read_packs(database: MongoManager, query: AuditQuery, limit: int) -> AuditPage:
    """Return the latest records in packs, as the port's ``read`` does; no target may be asked for."""
    found: list[tuple[Place, _Row]] = []
    where, count, scanned = _where(query), 2, 0
    while True:
        rows = await database.find(PACKS, where, {"digest": 0}, sort=[("last", -1), ("_id", -1)], limit=count)
        for row in rows:
            found += _opened(row, query)
            scanned += max(1, row["count"])
        if len(rows) < count:
            return _page(query, nlargest(limit, found), limit, None)
        edge, last_id = rows[-1]["last"], rows[-1]["_id"]
        horizon = Place(from_micros(edge), LAST_ID)  # the next pack has none that is later
        if query.before is None or horizon < query.before:
            told = [one for one in found if one[0] > horizon]
            if len(told) >= limit or scanned >= SCANNED:
                return _page(query, nlargest(limit, told), limit, horizon)
        where["$or"] = [{"last": {"$lt": edge}}, {"last": edge, "_id": {"$lt": last_id}}]
        where["last"]["$lte"] = edge
        count = min(2 * count, _MOST_READ)


def ids(packs: Sequence[Document]) -> set[str]:
    """Return the ids of the records in packs."""
    return {row[0] for pack in packs for row in orjson.loads(pack["records"])}


def _pack(tenant: str, records: Sequence[AuditRecord]) -> Document | None:
    """Return the pack of some records; None: they do not go into one."""
    times = [record.time for record in records]
    first, last = min(times), max(times)
    text = orjson.dumps([*map(_MEMBERS, records)])
    if last - first >= _WIDEST or len(text) > _MOST_BYTES:
        return None
    if not OUTCOMES.issuperset(record.outcome for record in records):
        raise ValueRefusedError
    pack = {
        "_id": records[0].id,
        "tenant": tenant,
        "first": Int64(micros(first)),
        "last": Int64(micros(last)),
        "count": Int64(len(records)),
        "actors": sorted({record.actor for record in records} - {""}),
        "records": text,
        "block": NO_BLOCK,
    }
    check_text(_head(pack))
    check_text(text)
    return pack | {"digest": pack_digest(pack)}


def _head(pack: Document) -> bytes:
    return orjson.dumps([pack[name] for name in ("_id", "tenant", "first", "last", "count", "actors")])


def _where(query: AuditQuery) -> dict[str, Any]:
    """Return which packs may hold what is asked for."""
    end = min([micros(time) for time in (query.until, query.before and query.before.time) if time is not None], default=END_US)
    where: dict[str, Any] = {"tenant": query.tenant, "first": {"$lte": end}, "last": {"$lte": end + _WIDEST_US, "$gte": FIRST_US}}
    if query.since is not None:
        where["last"]["$gte"] = max(FIRST_US, micros(query.since))
    if query.actor:
        where["actors"] = query.actor
    return where


def _opened(pack: Document, query: AuditQuery) -> list[tuple[Place, _Row]]:
    """Return the records that are asked for. One who changed what is sealed hides that pack, and not what is beside it."""
    try:
        return [*_fitting(pack["records"], query)]
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        _log.error("audit_records_unreadable", id=pack["_id"], block=pack["block"], error=str(error))
        return []


def _fitting(text: bytes, query: AuditQuery) -> Iterator[tuple[Place, _Row]]:
    named, begins = query.action.removesuffix("*"), query.action.endswith("*")
    outcome = str(query.outcome or "")
    for row in orjson.loads(text):
        if query.actor and row[2] != query.actor:
            continue
        if named and not (row[4].startswith(named) if begins else row[4] == named):
            continue
        if outcome and row[5] != outcome:
            continue
        place = _place(row)
        if query.since is not None and place.time < query.since:
            continue
        if query.until is not None and place.time >= query.until:
            continue
        if query.before is None or place < query.before:
            yield place, row


def _place(row: _Row) -> Place:
    """Return a record's place. Raises ValueError and TypeError where that is none, or the rest is not as a record is."""
    place = Place(datetime.fromisoformat(row[1]), row[0])
    is_whole = len(row) == _COLUMNS and row[5] in OUTCOMES and _ID.fullmatch(row[0]) is not None
    if not (is_whole and "".join(row) and time_of(FIRST_US) <= place.time < time_of(END_US)):
        raise ValueError("not a record")
    return place


def _page(query: AuditQuery, found: Sequence[tuple[Place, _Row]], limit: int, reached: Place | None) -> AuditPage:
    records = [_record(query.tenant, place, row) for place, row in found]
    return AuditPage(records, found[-1][0] if len(found) == limit else reached)


def _record(tenant: str, place: Place, row: _Row) -> AuditRecord:
    id, _, actor, via, action, outcome, reason, request_id = row  # noqa: A001  a record's own word
    time = place.time.astimezone(UTC)
    return AuditRecord(action, Outcome(outcome), actor, tenant, via, "", reason, request_id, {}, id, time)
