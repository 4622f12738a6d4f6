"""`stylobate hooks`: how far durable hooks have come, and setting them back."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime

from stylobate.hooks import HookStanding
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.schemas import WITHIN, answering, schema_of, services_with
from stylobate.outbox import Position
from stylobate.outbox.postgres import PostgresEventLog
from stylobate.services import event_sources


@dataclass(frozen=True, slots=True)
class Place:
    """Where to set a hook: exactly one of these."""

    start: bool = False
    end: bool = False
    since: datetime | None = None


def listing() -> None:
    """Print every durable hook with its position."""
    with answering():
        rows = asyncio.run(_listing())
    if not rows:
        console().print("no durable hook has a position yet")
    for row, behind in rows:
        epoch = f"  epoch {row.position.epoch}" if row.position.epoch else ""
        counts = f"{behind} events of the log to go, {row.aside} aside, {row.dead} dead letters"
        console().print(f"{row.hook}  {row.source}  {counts}  moved {row.updated_at:%Y-%m-%d %H:%M:%S}{epoch}", highlight=False)


def rewind(hook: str, source: str, place: Place) -> None:
    """Set a hook to another place of its log. Raises CommandError for one that has no position there."""
    if (place.start, place.end, place.since is not None).count(True) != 1:
        raise CommandError("say one of --start, --end and --since TIME")
    if place.since is not None:
        place = Place(since=_passed(place.since))
    with answering():
        asyncio.run(_rewind(hook, source, place))
    console().print(f"{hook} goes on in the log of {source} from there within ten seconds")


def _passed(time: datetime) -> datetime:
    """Return a time, of this machine where it has no offset, in UTC. Raises CommandError for one that has not come yet.

    Behind a mistyped year lies every event there is, and what is skipped is never run.
    """
    try:
        moment = time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(f"--since {time.isoformat()} is out of range; --start goes to the oldest event") from None
    if moment > datetime.now(UTC):
        raise CommandError(f"--since {time.isoformat()} has not come yet; --end goes past the newest event")
    return moment


async def _listing() -> list[tuple[HookStanding, int]]:
    services = services_with("hooks")  # imports them, which is not the database's time
    async with asyncio.timeout(WITHIN.total_seconds()):
        found: list[HookStanding] = []
        for name in services:
            async with schema_of(name) as database:
                found += await PostgresHookStore(database).listing()
        heads = {source: await _place_in(source, Place(end=True)) for source in {row.source for row in found}}
        return [(row, _behind(row.position, heads[row.source])) for row in found]


def _behind(position: Position, head: Position) -> int:
    return sum(max(0, end - number) for number, end in zip(position.numbers, head.numbers, strict=True))


async def _rewind(hook: str, source: str, place: Place) -> None:
    if source not in event_sources():
        raise CommandError(f"{source} keeps no log of events")
    async with asyncio.timeout(WITHIN.total_seconds()):
        position = await _place_in(source, place)
        for name in services_with("hooks"):
            async with schema_of(name) as database:
                if await PostgresHookStore(database).rewind(hook, source, position):
                    return
        raise CommandError(f"no durable hook {hook} has a position in the log of {source}; `stylobate hooks list` names them")


async def _place_in(source: str, place: Place) -> Position:
    async with schema_of(source) as database:
        log = PostgresEventLog(database, source)
        if place.since is not None:
            return await log.before(place.since)
        return await (log.oldest() if place.start else log.head())
