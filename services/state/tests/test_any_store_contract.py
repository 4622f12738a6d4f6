"""What every store of state objects must do, be it durable or ephemeral: over memory, PostgreSQL and Valkey.

Versions are said by what was written first: those of an ephemeral namespace do not begin with 1.
"""

import json
from datetime import UTC, datetime, timedelta

import pytest
from stylobate.idempotency import Claim
from stylobate_state.errors import StateDataInvalidError
from stylobate_state.model import Change, HistoryQuery, ListQuery, Refused, StateKey, Taken, Withheld, Written

from .samples import deletion, write

A, B, C, D = (StateKey("default", "orders", name) for name in "abcd")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def claim(key: str) -> Claim:
    """Return a claim whose answer is the keys and versions of what was written."""

    def encode(result) -> bytes:
        return repr([(state.key.key, state.version) for state in result]).encode()

    return Claim("default", "ada", "transact", key, b"hash", NOW, NOW + timedelta(hours=24), encode)


async def created(store, *keys, **changes):
    """Create objects and return the version of the last."""
    (*_, last) = await store.write([write(key, 0, **changes) for key in keys])
    return last.version


async def check_history(store, key, versions):
    """Make sure that these versions of a key, the newest first, stand in its history, where there is one."""
    if store.has_events:
        assert [entry.version for entry in (await store.list_history(HistoryQuery(key, 100))).items] == list(versions)


async def versions(store, *keys):
    """Return the version of each key; 0: nothing was ever there."""
    found = await store.read(keys)
    stand = [found[key].version if key in found else 0 for key in keys]
    for key, version in zip(keys, stand, strict=True):
        await check_history(store, key, range(version, 0, -1))
    return stand


async def test_a_created_object_is_read_back_whole(any_store):
    """Owner, status, data and times of a creation are what a read gives; its version is the one that created it."""
    (written,) = await any_store.write([write(A, 0, b'{"total": 5}', status="pending")])
    state = (await any_store.read([A, B]))[A]
    assert isinstance(written, Written)
    assert written.version == written.first_version >= 1
    assert (written.status, written.owner, json.loads(written.data)) == ("pending", "ada", {"total": 5})
    assert (state.version, state.first_version, state.status, state.owner, state.data) == (
        written.version, written.first_version, "pending", "ada", written.data,
    )  # fmt: skip
    assert (state.created_at, state.updated_at) == (written.created_at, written.updated_at)
    assert state.created_at == state.updated_at
    assert state.created_at.tzinfo is not None
    assert not state.is_deleted


async def test_keys_never_written_are_missing(any_store):
    """Reading gives only what stands somewhere, also for an empty question and for a key asked twice."""
    await created(any_store, A)
    assert await any_store.read([]) == {}
    assert list(await any_store.read([A, B, A])) == [A]


async def test_an_exact_version_is_compared(any_store):
    """Version n is replaced by n+1 when n was expected; any other expectation is told what stands there."""
    first = await created(any_store, A)
    (second,) = await any_store.write([write(A, first, b"[2]")])
    assert second.version == first + 1
    assert await any_store.write([write(A, first, b"[9]")]) == [Refused(first + 1)]
    assert await any_store.write([write(A, first + 6, b"[9]")]) == [Refused(first + 1)]
    state = (await any_store.read([A]))[A]
    assert (json.loads(state.data), state.version, state.first_version) == ([2], first + 1, first)
    assert (state.created_at, state.updated_at) == (second.created_at, second.updated_at)
    await check_history(any_store, A, [2, 1])


async def test_data_that_stays_need_not_be_sent(any_store):
    """A write that says that it leaves the data as it was read changes the rest, and only at the version that was read."""
    first = await created(any_store, A, data=b'{"total": 5}', status="pending")
    data = (await any_store.read([A]))[A].data
    same = write(A, first, data, status="paid", change=Change.TRANSITIONED, keeps_data=True)
    (second,) = await any_store.write([same])
    assert (second.version, second.status, second.data) == (first + 1, "paid", data)
    assert (await any_store.read([A]))[A].data == data
    assert await any_store.write([same]) == [Refused(first + 1)]


async def test_creating_what_exists_is_refused(any_store):
    """Expected 0 means that nothing alive may stand there."""
    first = await created(any_store, A, data=b"[1]")
    assert await any_store.write([write(A, 0, b"[2]")]) == [Refused(first)]
    assert json.loads((await any_store.read([A]))[A].data) == [1]


async def test_changing_what_is_absent_is_refused(any_store):
    """Neither an exact nor any version creates something."""
    assert await any_store.write([write(A, 7), write(B, None)]) == [Refused(0), Refused(0)]
    assert await any_store.read([A, B]) == {}
    await check_history(any_store, A, [])


async def test_any_version_keeps_the_status_of_the_moment(any_store):
    """A write for any version takes the status that a transition has set meanwhile, and says so."""
    first = await created(any_store, A, status="pending")
    await any_store.write([write(A, first, change=Change.TRANSITIONED, status="paid", event="pay", from_status="pending")])
    (written,) = await any_store.write([write(A, None, b"[3]")])
    assert (written.version, written.status) == (first + 2, "paid")
    assert (await any_store.read([A]))[A].status == "paid"


async def test_any_version_holds_for_the_same_owner_only(any_store):
    """Access was decided on the owner that was seen: when the key has changed hands the write is refused."""
    await created(any_store, A, owner="ada")
    await any_store.write([deletion(A)])
    theirs = await created(any_store, A, owner="bob")
    assert await any_store.write([write(A, None, b"[1]", owner="ada")]) == [Refused(theirs)]
    assert (await any_store.read([A]))[A].owner == "bob"


async def test_a_deletion_leaves_a_tombstone_and_the_version_goes_on(any_store):
    """After delete and re-create the version is higher than ever, and the object is a new one with a new owner."""
    (first,) = await any_store.write([write(A, 0, b"[1]", owner="ada")])
    (gone,) = await any_store.write([deletion(A)])
    tombstone = (await any_store.read([A]))[A]
    assert gone.version == tombstone.version == first.version + 1
    assert (tombstone.is_deleted, tombstone.data) == (True, b"null")
    assert await any_store.write([deletion(A), write(B, 2)]) == [Refused(0), Refused(0)]
    assert await any_store.write([write(A, gone.version)]) == [Refused(0)]

    (again,) = await any_store.write([write(A, 0, b"[3]", owner="bob", status="fresh")])
    state = (await any_store.read([A]))[A]
    assert again.version == again.first_version == gone.version + 1
    assert (again.owner, again.status) == ("bob", "fresh")
    assert (state.version, state.first_version, state.owner, state.is_deleted) == (
        again.version, again.version, "bob", False,
    )  # fmt: skip
    assert state.created_at >= first.created_at
    assert state.created_at == state.updated_at


async def test_answers_come_in_the_order_of_the_batch(any_store):
    """Answers stay with their writes, and a refusal touches no neighbour."""
    keys = [StateKey("default", "orders", name) for name in ["m", "a", "z", "b", "y"]]
    there = await created(any_store, keys[2])
    outcomes = await any_store.write([write(key, 0, json.dumps(key.key).encode()) for key in keys])
    assert [isinstance(outcome, Written) for outcome in outcomes] == [True, True, False, True, True]
    assert outcomes[2] == Refused(there)
    found = await any_store.read(keys)
    assert [json.loads(found[key].data) for key in keys] == ["m", "a", {}, "b", "y"]


async def test_a_row_that_cannot_be_kept_leaves_the_batch_unwritten(any_store):
    """Bad data fails the step with a typed error and nothing of it stays, so that the batch can be tried row by row."""
    with pytest.raises(StateDataInvalidError):
        await any_store.write([write(A, 0), write(B, 0, b'{"broken')])
    assert await any_store.read([A, B]) == {}
    await check_history(any_store, A, [])
    assert isinstance((await any_store.write([write(A, 0)]))[0], Written)


@pytest.mark.parametrize(
    "number", ["9007199254740993", "18446744073709551615", "0.1", "1.10", "0.12345678901234567890123", "-0.5"]
)
async def test_numbers_survive_digit_for_digit(any_store, number):
    """No number passes through a double on its way: not beyond 2**53, not with many or trailing decimals."""
    await created(any_store, A, data=f'{{"n":   {number}}}'.encode())
    assert f": {number}}}".encode() in (await any_store.read([A]))[A].data


async def test_texts_survive(any_store):
    """Letters of every script, quotes and line ends are read back; a long text too."""
    value = {"ä": 'ß "quoted" \\ \n\t', "𝄞": "x" * 70_000, "e": ""}
    await created(any_store, A, data=json.dumps(value, ensure_ascii=False).encode())
    assert json.loads((await any_store.read([A]))[A].data) == value


async def test_a_late_duplicate_is_refused(any_store):
    """The same write delivered again after others changes nothing, whatever it expected."""
    create = write(A, 0, b"[1]")
    (first,) = await any_store.write([create])
    change = write(A, first.version, b"[2]")
    await any_store.write([change])
    assert await any_store.write([create]) == [Refused(first.version + 1)]
    assert await any_store.write([change]) == [Refused(first.version + 1)]
    await any_store.write([write(A, first.version + 1, b"[3]")])
    assert await any_store.write([change]) == [Refused(first.version + 2)]
    await check_history(any_store, A, [3, 2, 1])


async def test_tenants_never_meet(any_store):
    """The same namespace and key of two tenants are two objects: in reads, writes and lists."""
    mine, theirs = StateKey("one", "orders", "a"), StateKey("two", "orders", "a")
    first = await created(any_store, mine, data=b"[1]")
    assert await any_store.read([theirs]) == {}
    assert await any_store.write([write(theirs, 1), deletion(StateKey("two", "orders", "a2"))]) == [Refused(0), Refused(0)]
    outcomes = await any_store.write([write(theirs, 0, b"[2]"), write(mine, first, b"[3]")])
    found = await any_store.read([mine, theirs])
    assert [(found[key].version, found[key].data) for key in (mine, theirs)] == [
        (outcomes[1].version, b"[3]"), (outcomes[0].version, b"[2]"),
    ]  # fmt: skip
    assert [state.key for state in (await any_store.list_states(ListQuery("two", "orders", 10))).items] == [theirs]
    assert await any_store.count(ListQuery("two", "orders", 10)) == 1
    await check_history(any_store, theirs, [1])


async def test_lists_are_sorted_and_paged(any_store):
    """Living objects of one namespace by code points of their keys; owner, ``after`` and limit are part of the query."""
    names = ["b", "a", "B", "ä", "c", "gone", "other", "𝄞", "\uffee"]
    await created(any_store, *(StateKey("default", "orders", name) for name in names))
    await any_store.write([deletion(StateKey("default", "orders", "gone"))])
    await created(any_store, StateKey("default", "orders", "bobs"), owner="bob")

    async def keys(**query):
        part = await any_store.list_states(ListQuery("default", "orders", **{"limit": 20} | query))
        return [state.key.key for state in part.items], part.has_more

    async def count(**query):
        return await any_store.count(ListQuery("default", "orders", **{"limit": 20} | query))

    assert await keys() == (["B", "a", "b", "bobs", "c", "other", "ä", "\uffee", "𝄞"], False)
    assert await keys(limit=2) == (["B", "a"], True)
    assert await keys(limit=2, after="a") == (["b", "bobs"], True)
    assert await keys(limit=2, after="\uffee") == (["𝄞"], False)
    assert await keys(after="𝄞") == ([], False)
    assert await keys(owner="bob") == (["bobs"], False)
    assert await keys(owner="ada", after="b", limit=2) == (["c", "other"], True)
    assert await keys(owner="nobody") == ([], False)
    some = frozenset(["other", "bobs", "gone", "none", "B"])
    assert await keys(keys=some) == (["B", "bobs", "other"], False)
    assert await keys(keys=some, limit=2) == (["B", "bobs"], True)
    assert await keys(keys=some, after="bobs") == (["other"], False)
    assert await keys(keys=frozenset("ac"), owner="bob", limit=2) == (["a", "bobs"], True)
    assert await keys(keys=frozenset("ac"), owner="bob", limit=2, after="bobs") == (["c"], False)
    assert await keys(keys=frozenset(), owner="bob") == (["bobs"], False)
    assert await keys(keys=frozenset()) == ([], False)
    assert [await count(keys=some), await count(keys=some, limit=2), await count(keys=frozenset("ac"), owner="bob")] == [3, 2, 3]
    assert [await count(), await count(limit=3), await count(owner="ada"), await count(owner="bob", limit=1)] == [9, 3, 8, 1]


async def test_a_page_ends_before_it_grows_too_large(any_store):
    """The bytes of the data bound a page, but the first object is always there; the next page goes on behind."""
    keys = [StateKey("default", "orders", name) for name in "abc"]
    await created(any_store, *keys, data=b'"' + b"x" * 1000 + b'"')
    for bound, shown in ((10, ["a"]), (1500, ["a"]), (2100, ["a", "b"]), (5000, ["a", "b", "c"])):
        part = await any_store.list_states(ListQuery("default", "orders", 10, max_bytes=bound))
        assert ([state.key.key for state in part.items], part.has_more) == (shown, len(shown) < 3)


async def test_a_group_is_written_whole(any_store):
    """Creation, update and deletion in one group, beside a single write: each has its version."""
    await created(any_store, A, B)
    before = await versions(any_store, A, B)
    outcomes = await any_store.write(
        [write(D, 0), write(C, 0, group=1), deletion(A, before[0], group=1), write(B, None, b"[2]", group=1)]
    )
    assert [type(outcome) for outcome in outcomes] == [Written] * 4
    assert [outcome.version for outcome in outcomes[2:]] == [before[0] + 1, before[1] + 1]
    assert await versions(any_store, D, C, A, B) == [outcome.version for outcome in outcomes]


@pytest.mark.parametrize(
    "bad",
    [write(B, 2), write(B, 0), write(D, None), write(D, 4), write(B, None, owner="bob"), deletion(B, 9)],
    ids=["stale", "there", "absent", "absent at a version", "another owner", "stale deletion"],
)
async def test_one_refusal_withholds_its_group_and_nobody_else(any_store, bad):
    """Whatever does not hold is named with what stands there; its group is not written, its neighbours are."""
    await created(any_store, A, B)
    before = await versions(any_store, A, B)
    group = [
        write(A, before[0], group=5),
        write(bad.key, bad.expected, owner=bad.owner, change=bad.change, group=5),
        write(C, 0, group=5),
    ]
    other = [write(StateKey("default", "orders", name), 0, group=6) for name in "xy"]
    outcomes = await any_store.write([*group, *other, write(StateKey("default", "orders", "z"), 0)])
    assert outcomes[:3] == [Withheld(), Refused(before[1] if bad.key == B else 0), Withheld()]
    assert [type(outcome) for outcome in outcomes[3:]] == [Written] * 3
    assert await versions(any_store, A, B, C) == [*before, 0]


async def test_a_claim_is_one_for_the_whole_group(any_store):
    """A group whose key is taken is Taken whole, and nothing of it is written; one that is refused takes no key."""
    first = [write(A, 0, group=1, claim=claim("k")), write(B, 0, group=1)]
    assert [type(outcome) for outcome in await any_store.write([*first, write(C, 0)])] == [Written] * 3
    a, b, c = await versions(any_store, A, B, C)
    again = [write(A, a, group=2, claim=claim("k")), write(B, b, group=2), write(C, c)]
    assert [type(outcome) for outcome in await any_store.write(again)] == [Taken, Taken, Written]
    assert await versions(any_store, A, B, C) == [a, b, c + 1]
    refused = [write(A, a + 9, group=3, claim=claim("free")), write(B, b, group=3)]
    assert await any_store.write(refused) == [Refused(a), Withheld()]
    free = [write(A, a, group=4, claim=claim("free")), write(B, b, group=4)]
    assert [type(one) for one in await any_store.write(free)] == [Written] * 2


async def test_a_key_stands_for_one_of_two_in_a_batch(any_store):
    """The first of them takes it."""
    outcomes = await any_store.write([write(A, 0, group=1, claim=claim("k")), write(B, 0, group=2, claim=claim("k"))])
    assert [type(outcome) for outcome in outcomes] == [Written, Taken]


async def test_the_store_says_how_it_is(any_store):
    """Health answers without raising."""
    assert (await any_store.health()).status == "healthy"
