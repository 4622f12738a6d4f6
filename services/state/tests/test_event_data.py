"""What events carry beside what all do: the object as it was, what changed, and what led to it; the same in every store."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from stylobate.database import DatabaseManager
from stylobate.outbox.memory import MemoryEventLog
from stylobate.rpc.call import Cause
from stylobate.testing import FakeClock
from stylobate_state.merge import delta, merge_patch
from stylobate_state.model import Beside, Change, Origin, StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.store.memory import MemoryStateStore

from .samples import ADA, HANDLER, NOTES, deletion, write
from .test_forgetting import DELETED, LAST_TWO, A, numbered_shop
from .test_merge import VALUES

ALL = Beside(before=True, delta=True, cause=Origin(2, "actions", "shop", "r-1"))
CASES = [
    ('{"a": 1, "b": {"c": [1], "d": 2}}', '{"b": {"c": [2], "d": 2}, "e": {}}', {"a": None, "b": {"c": [2]}, "e": {}}),
    ('{"a": 1}', '{"a": 1}', {}),
    ('{"a": null}', '{"a": null, "b": [null]}', {"b": [None]}),
    ('{"a": null}', "{}", {"a": None}),
    ('{"a": [1]}', '{"a": {"b": {}}}', {"a": {"b": {}}}),
    ('{"a": true, "n": 9007199254740993}', '{"a": 1, "n": 9007199254740992}', {"a": 1, "n": 9007199254740992}),
    ('{"a": 1, "b": 2.50}', '{"a": 1.0, "b": 2.50}', {"a": 1.0}),
    ("[1]", "[2]", [2]),
]
"""Before, after, and the patch."""


@given(VALUES, VALUES)
def test_a_delta_applied_to_what_was_gives_what_is(before, after):
    """Or there is none: only where some member is to become null."""
    old, new = json.dumps(before).encode(), json.dumps(after).encode()
    patch = delta(old, new)
    if patch is None:
        assert b"null" in new
    else:
        assert json.loads(merge_patch(old, patch)) == after


def test_a_member_that_becomes_null_has_no_delta():
    """A null in a patch takes the member away; a patch that says something else than what happened is none."""
    assert delta(b'{"a": 1}', b'{"a": null}') is delta(b"null", b'{"a": {"b": null}}') is None


class Told:
    """A store, and the data of the events that it wrote."""

    def __init__(self, store, database=None, log=None):
        self.store, self.database, self.log = store, database, log

    async def write(self, *writes):
        """Write them in one batch."""
        await self.store.write(writes)

    async def events(self) -> list[dict]:
        """Return what all events say, in their order."""
        if self.database is None:
            return [json.loads(event.data) for event in self.log]
        if isinstance(self.database, DatabaseManager):
            rows = await self.database.fetch("select data::text as data from outbox_event order by seq")
        else:
            rows = await self.database.find("outbox_event", {}, sort=[("$natural", 1)])
        return [json.loads(row["data"]) for row in rows]


class Kept(MemoryEventLog):
    """A log that shows what was written to it."""

    def __init__(self):
        super().__init__("state", FakeClock())
        self.seen = []

    async def append(self, transaction, events, **place):
        """Keep them here too."""
        self.seen += events
        await super().append(transaction, events, **place)


@pytest.fixture
async def told(open_kept_or_none):
    """Give each adapter in turn."""
    if open_kept_or_none is None:
        log = Kept()
        return Told(MemoryStateStore(FakeClock(), log), log=log.seen)
    kept = await open_kept_or_none()
    return Told(kept.store, kept.database)


@pytest.mark.parametrize(("before", "after", "patch"), CASES)
async def test_a_store_tells_what_changed(told, before, after, patch):
    """The patch beside the object as it was; a deletion's patch is null, a creation's is made of nothing."""
    key = StateKey("default", "orders", "a")
    await told.write(write(key, 0, before.encode(), beside=ALL))
    await told.write(write(key, 1, after.encode(), change=Change.TRANSITIONED, status="paid", beside=ALL))
    await told.write(deletion(key, 2, beside=ALL))
    first, second, third = await told.events()
    assert (first["before"], second["before"]["version"], second["before"]["status"]) == (None, 1, "new")
    assert (second["before"]["data"], second["delta"]) == (json.loads(before), patch)
    assert third["before"] == {"version": 2, "status": "paid", "data": json.loads(after)}
    assert third["delta"] is None
    assert second["cause"] == {"depth": 2, "via": "actions", "module": "shop", "request_id": "r-1"}


async def test_a_store_tells_what_a_namespace_asks_for(told):
    """Each write of a batch for itself; what no patch can say is left out; what was deleted was not there before."""
    keys = [StateKey("default", "orders", name) for name in "abcd"]
    await told.write(*(write(key, 0, b'{"a": 1}', beside=Beside(), schema_version=2) for key in keys))
    asked = (None, Beside(before=True), Beside(delta=True), Beside(cause=Origin()))
    await told.write(*(write(key, 1, b'{"a": null}', beside=beside) for key, beside in zip(keys, asked, strict=True)))
    await told.write(deletion(keys[0]))
    await told.write(write(keys[0], 0, b"{}", beside=ALL))
    *_, plain, before, no_delta, cause, _, again = await told.events()
    common = {"namespace", "key", "version", "status", "data", "actor"}
    assert [set(event) - common for event in (plain, before, no_delta, cause)] == [set(), {"before"}, set(), {"cause"}]
    assert before["before"] == {"version": 1, "status": "new", "data": {"a": 1}, "schema_version": 2}
    assert (cause["cause"], again["before"], again["delta"]) == ({}, None, {})


async def test_what_is_forgotten_is_forgotten_in_the_next_event_too(open_kept):
    """The data of a version also stands in the event after it. In memory nobody comes back to a log."""
    kept = await open_kept()
    shop = await numbered_shop(kept)
    beside = {"beside": ALL}
    await shop.write(*(write(A, n, b"[%d]" % n, **beside) for n in range(4)))
    assert (await shop.forgetting.forget(LAST_TWO, 100)).versions == 2
    assert await carriers(kept) == [4]
    await shop.write(deletion(A, 4, **beside))
    await shop.forgetting.forget(DELETED, 100)
    assert await carriers(kept) == []
    other = A._replace(key="other")
    await shop.write(write(other, 0, b"[1]", **beside), write(other, 1, b"[2]", **beside))
    await shop.forgetting.erase(other)
    assert await carriers(kept) == []


async def carriers(kept) -> list[int]:
    """Return the versions whose events say what was before."""
    return sorted(row["version"] for row in await kept.events() if {"before", "delta"} & json.loads(row["data"]).keys())


def test_a_cause_is_what_the_call_says():
    """Who came through whom, of which module, how deep, with which request; nothing where nobody asks for it."""
    asking = Namespace.of(replace(NOTES, event_data=("cause",)), max_data_bytes=100)
    cause = Cause(1, "", "r" * 200)
    handler = HANDLER.with_via("actions", "shop")
    assert asking.beside(cause, handler) == Beside(cause=Origin(1, "actions", "shop", "r" * 128))
    assert asking.beside(cause) == Beside(cause=Origin(1, "state", "", "r" * 128))
    assert Namespace.of(NOTES, max_data_bytes=100).beside(cause, ADA) is None
