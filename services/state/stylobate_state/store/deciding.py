"""What a write makes of what stands at its key, where a store decides that in Python: over memory and MongoDB.

``cas.sql`` says the same for PostgreSQL.
"""

from dataclasses import replace
from datetime import datetime

from stylobate.outbox import Event

from stylobate_state.aside import aside_of
from stylobate_state.change_event import event_of
from stylobate_state.model import Change, StateRecord, Timer, Write, Written


def live(present: StateRecord | None) -> StateRecord | None:
    """Return what is alive of what stands there."""
    return None if present is None or present.is_deleted else present


def holds(write: Write, present: StateRecord | None) -> bool:
    """Return whether the write's expectation holds.

    :param present: what stands at the key, a tombstone too.
    """
    alive = live(present)
    if write.expected == 0:
        is_same = not write.restored_from or (present is not None and present.owner == write.owner)
        return alive is None and is_same
    is_same = alive is not None and (write.change is Change.ASSIGNED or alive.owner == write.owner)
    if alive is not None and write.seen is not None and write.seen.updated_at != alive.updated_at:
        return False
    return alive is not None and is_same and write.expected in {None, alive.version}


def made(write: Write, present: StateRecord | None, version: int, now: datetime) -> StateRecord:
    """Return the object as the write leaves it.

    :param version: the one that it gets. :param now: not before the last change of what stands there.
    """
    alive = live(present)
    same = present if write.restored_from else alive
    return StateRecord(
        key=write.key,
        version=version,
        status=_status(write, alive),
        data=write.data,
        owner=write.owner,
        created_at=same.created_at if same is not None else now,
        updated_at=alive.updated_at if alive is not None and write.change is Change.MIGRATED else now,
        first_version=same.first_version if same is not None and same.owner == write.owner else version,
        is_deleted=write.change is Change.DELETED,
        timers=_timers(write, alive, version, now),
        schema_version=write.schema_version,
    )


def written(state: StateRecord) -> Written:
    """Return the outcome of a write that left this object."""
    return Written(
        state.version,
        state.status,
        state.owner,
        state.created_at,
        state.updated_at,
        state.first_version,
        state.data,
        state.timers,
    )


def event(write: Write, state: StateRecord, before: StateRecord | None, time: datetime) -> Event:
    """Return the event of a write, with what the log keeps aside.

    :param state: the object after it, or its tombstone. :param before: what was alive.
    """
    told = event_of(
        write.key,
        write,
        version=state.version,
        status=state.status,
        data=state.data,
        owner=state.owner,
        before=before,
        beside=write.beside,
        actor=write.actor,
        event_id=write.event_id,
        time=time,
    )
    if write.beside is None or write.beside.aside is None:
        return told
    return replace(told, aside=aside_of(write.beside.aside, before, state))


def _status(write: Write, alive: StateRecord | None) -> str:
    if write.status is not None:
        return write.status
    return alive.status if alive is not None else ""


def _timers(write: Write, alive: StateRecord | None, version: int, now: datetime) -> tuple[Timer, ...]:
    if write.change.stays and alive is not None:
        return alive.timers
    return tuple(Timer(start.event, now + start.after, version) for start in write.timers)
