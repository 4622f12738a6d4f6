"""The rules of state objects, on the memory store."""

import json
from datetime import timedelta

import pytest
from stylobate.clients.state import StateNotFoundError, StateVersionConflictError
from stylobate.errors import InvalidInputError
from stylobate_state.errors import (
    StateDataInvalidError,
    StateEventUnknownError,
    StateKeyInvalidError,
    StateNamespaceUnknownError,
    StateStatusNotWritableError,
    StateTransitionNotAllowedError,
)
from stylobate_state.history_reader import HistoryRequest
from stylobate_state.model import Change
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_lister import ListRequest
from stylobate_state.state_manager import StateManager

from .samples import ADA, HANDLER, NOTES

ORDER = b'{"total": 5, "items": ["x"]}'


async def place(manager, key="1", data=ORDER):
    """Create an order."""
    return await manager.change(HANDLER, "orders", key, Put(data), expected=0)


async def test_a_creation_enters_the_initial_status(manager, clock):
    """The object begins at version 1 in the declared status, owned by the caller."""
    state = await place(manager)
    assert (state.version, state.status, state.owner, state.data) == (1, "pending", "ada", ORDER)
    assert state.created_at == state.updated_at == clock()
    assert await manager.get(ADA, [("orders", "1")]) == [state]


async def test_replacing_keeps_status_owner_and_birth(manager, clock):
    """PUT replaces the data and nothing else."""
    first = await place(manager)
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    clock.advance(timedelta(seconds=9))
    state = await manager.change(HANDLER, "orders", "1", Put(b'{"total": 6}'), expected=2)
    assert (state.version, state.status, state.data) == (3, "paid", b'{"total": 6}')
    assert (state.created_at, state.updated_at) == (first.created_at, clock())


@pytest.mark.parametrize("expected", [1, 3, 9])
async def test_a_wrong_version_is_refused_with_both_versions(manager, expected):
    """Whatever the operation, the error says what was expected and what stands there."""
    await place(manager)
    await manager.change(HANDLER, "orders", "1", Patch(b'{"total": 6}'), expected=1)
    for change in (
        manager.change(HANDLER, "orders", "1", Put(ORDER), expected=expected),
        manager.change(HANDLER, "orders", "1", Patch(b"{}"), expected=expected),
        manager.change(ADA, "orders", "1", Transition("pay"), expected=expected),
    ):
        with pytest.raises(StateVersionConflictError) as conflict:
            await change
        assert conflict.value.metadata == {"expected": str(expected), "actual": "2"}
        assert conflict.value.http_status == 412


async def test_create_only_and_replace_only(manager):
    """Expected 0 refuses what exists; a version refuses what does not."""
    await place(manager)
    with pytest.raises(StateVersionConflictError) as conflict:
        await place(manager)
    assert conflict.value.metadata == {"expected": "0", "actual": "1"}
    with pytest.raises(StateVersionConflictError) as conflict:
        await manager.change(HANDLER, "orders", "2", Put(ORDER), expected=1)
    assert conflict.value.metadata == {"expected": "1", "actual": "0"}
    with pytest.raises(InvalidInputError):
        await manager.change(HANDLER, "orders", "2", Put(ORDER), expected=-1)


async def test_a_status_is_never_written(manager):
    """`status` beside PUT is accepted only when it says what holds anyway."""
    with pytest.raises(StateStatusNotWritableError) as refused:
        await manager.change(HANDLER, "orders", "1", Put(ORDER, "paid"), expected=None)
    assert (refused.value.metadata, refused.value.http_status) == ({"status": "pending"}, 409)
    await manager.change(HANDLER, "orders", "1", Put(ORDER, "pending"), expected=None)
    assert (await manager.change(HANDLER, "orders", "1", Put(ORDER, "pending"), expected=None)).version == 2
    with pytest.raises(StateStatusNotWritableError):
        await manager.change(HANDLER, "orders", "1", Put(ORDER, "paid"), expected=None)
    with pytest.raises(StateStatusNotWritableError):
        await manager.change(ADA, "notes", "1", Put(b"1", "pending"), expected=None)


async def test_a_transition_moves_and_merges(manager):
    """The event's target becomes the status, its patch is merged, and both are one version."""
    await place(manager)
    state = await manager.change(ADA, "orders", "1", Transition("pay", b'{"paid_by": "card", "items": null}'), expected=1)
    assert (state.version, state.status) == (2, "paid")
    assert json.loads(state.data) == {"total": 5, "paid_by": "card"}


async def test_an_illegal_transition_names_what_is_allowed(manager):
    """The error lists the events of the present status, in metadata and in words, and changes nothing."""
    await place(manager)
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    with pytest.raises(StateTransitionNotAllowedError) as refused:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    assert refused.value.metadata == {"status": "paid", "event": "pay", "allowed": "ship,cancel"}
    assert "Allowed now: ship, cancel." in refused.value.detail
    assert refused.value.http_status == 409
    assert (await manager.get(ADA, [("orders", "1")]))[0].version == 2


async def test_from_a_last_status_nothing_is_allowed(manager):
    """The list of allowed events is empty then, and the sentence says so."""
    await place(manager)
    await manager.change(ADA, "orders", "1", Transition("cancel"), expected=None)
    with pytest.raises(StateTransitionNotAllowedError) as refused:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    assert refused.value.metadata["allowed"] == ""
    assert "No event is allowed" in refused.value.detail


async def test_names_that_mean_nothing(manager):
    """Namespace, event and object that do not exist are told apart."""
    with pytest.raises(StateNamespaceUnknownError) as unknown:
        await manager.get(ADA, [("order", "1")])
    assert unknown.value.http_status == 404
    with pytest.raises(StateNamespaceUnknownError):
        await manager.list_states(ADA, "order")
    with pytest.raises(StateEventUnknownError) as event:
        await manager.change(ADA, "orders", "1", Transition("payy"), expected=None)
    assert event.value.metadata["known"] == "pay,ship,cancel,amend"
    with pytest.raises(StateEventUnknownError):
        await manager.change(ADA, "notes", "1", Transition("pay"), expected=None)
    with pytest.raises(StateNotFoundError):
        await manager.change(HANDLER, "orders", "1", Patch(b"{}"), expected=None)


@pytest.mark.parametrize("key", ["", "x" * 256, "a/b", ".", "..", "a\0b", "a\nb", "\u202e"])
async def test_keys_that_cannot_be_addressed(manager, key):
    """A key must be storable, showable and fit into a URL path, for reads and writes alike."""
    with pytest.raises(StateKeyInvalidError):
        await manager.change(ADA, "notes", key, Put(b"1"), expected=None)
    with pytest.raises(StateKeyInvalidError):
        await manager.get(ADA, [("notes", key)])


@pytest.mark.parametrize("key", ["x" * 255, "a b", "ä:1", "018f-…", "user@example.org", "...", "a.b"])
async def test_keys_that_can(manager, key):
    """Anything else is a key."""
    await manager.change(ADA, "notes", key, Put(b"1"), expected=0)
    assert [state.key.key for state in await manager.get(ADA, [("notes", key)])] == [key]


async def test_data_is_held_to_the_schema_with_every_finding(manager):
    """Each violation has its pointer; neither PUT, PATCH nor a transition's data slips past."""
    with pytest.raises(StateDataInvalidError) as invalid:
        await manager.change(HANDLER, "orders", "1", Put(b'{"total": 0}'), expected=None)
    assert [violation.pointer for violation in invalid.value.violations] == ["/total"]
    assert invalid.value.http_status == 422
    await place(manager)
    with pytest.raises(StateDataInvalidError) as invalid:
        await manager.change(HANDLER, "orders", "1", Patch(b'{"total": null}'), expected=None)
    assert [violation.pointer for violation in invalid.value.violations] == ["/total"]
    with pytest.raises(StateDataInvalidError):
        await manager.change(HANDLER, "orders", "1", Transition("amend", b'{"total": "much"}'), expected=None)
    assert (await manager.get(ADA, [("orders", "1")]))[0].version == 1


async def test_the_first_refusal_is_about_access(manager):
    """Who may not write learns neither the version nor whether the data would do."""
    await place(manager)
    for change in (
        manager.change(ADA, "orders", "1", Put(b"no json"), expected=7),
        manager.change(ADA, "orders", "1", Patch(b"no json"), expected=7),
    ):
        with pytest.raises(Exception, match="You may not write orders/1"):
            await change


async def test_deletion_ends_the_object_not_its_version(manager, grants):
    """A deleted object is gone from reads and lists; created again it is version 3, pending, and new."""
    grants.by_subject["ada"] = {"orders:admin"}
    await place(manager)
    assert (await manager.change(ADA, "orders", "1", Delete(), expected=1)).version == 2
    assert await manager.get(ADA, [("orders", "1")]) == []
    assert (await manager.list_states(ADA, "orders")).items == []
    with pytest.raises(StateNotFoundError):
        await manager.change(ADA, "orders", "1", Delete(), expected=None)
    with pytest.raises(StateVersionConflictError) as conflict:
        await manager.change(HANDLER, "orders", "1", Put(ORDER), expected=2)
    assert conflict.value.metadata == {"expected": "2", "actual": "0"}
    state = await place(manager)
    assert (state.version, state.first_version, state.status) == (3, 3, "pending")


async def test_history_is_told_newest_first_in_pages(manager, grants):
    """Every version with what happened, by whom, from where to where."""
    grants.by_subject["ada"] = {"orders:admin"}
    await place(manager)
    await manager.change(HANDLER, "orders", "1", Patch(b'{"total": 6}'), expected=None)
    await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    await manager.change(ADA, "orders", "1", Delete(), expected=None)
    first = await manager.list_history(ADA, "orders", "1", HistoryRequest(size=3))
    second = await manager.list_history(ADA, "orders", "1", HistoryRequest(size=3, token=first.next_token))
    entries = [*first.items, *second.items]
    assert [(e.version, e.change, e.event, e.from_status, e.to_status) for e in entries] == [
        (4, Change.DELETED, "", "paid", ""),
        (3, Change.TRANSITIONED, "pay", "pending", "paid"),
        (2, Change.UPDATED, "", "pending", "pending"),
        (1, Change.CREATED, "", "", "pending"),
    ]
    assert (second.next_token, {e.actor for e in entries}) == ("", {"ada"})


async def test_a_batch_is_read_in_the_order_asked_for(manager):
    """Keys of several namespaces, absent ones left out, repeated ones once; 500 at most."""
    await place(manager)
    await manager.change(ADA, "notes", "n", Put(b"1"), expected=None)
    names = [("notes", "n"), ("orders", "no"), ("orders", "1"), ("notes", "n")]
    assert [state.key[1:] for state in await manager.get(ADA, names)] == [("notes", "n"), ("orders", "1")]
    assert await manager.get(ADA, []) == []
    with pytest.raises(InvalidInputError):
        await manager.get(ADA, [("notes", "n")] * 501)


async def test_pages_end_exactly(manager):
    """Pages neither repeat nor lose an object, and the last one has no token, also when it is full."""
    for number in range(6):
        await manager.change(ADA, "notes", f"{number}", Put(b"1"), expected=None)
    seen, token = [], ""
    while True:
        page = await manager.list_states(ADA, "notes", ListRequest(size=3, token=token))
        seen += [state.key.key for state in page.items]
        token = page.next_token
        if not token:
            break
    assert seen == [f"{number}" for number in range(6)]
    assert len((await manager.list_states(ADA, "notes", ListRequest(size=6))).items) == 6
    assert (await manager.list_states(ADA, "notes", ListRequest(size=6))).next_token == ""


async def test_lists_filter_by_status(manager):
    """Only objects that stand at the status, and a token of one filter is refused by another."""
    for number in range(4):
        await place(manager, f"{number}")
    await manager.change(ADA, "orders", "2", Transition("pay"), expected=None)
    assert [state.key.key for state in (await manager.list_states(ADA, "orders", ListRequest(status="paid"))).items] == ["2"]
    page = await manager.list_states(ADA, "orders", ListRequest(status="pending", size=1))
    with pytest.raises(InvalidInputError):
        await manager.list_states(ADA, "orders", ListRequest(status="paid", token=page.next_token))


@pytest.mark.parametrize("token", ["x", "%%%", "bnVsbA", "WzFd", "W10", "ä", "eyJhIjoxfQ"])
async def test_tokens_that_are_none(manager, token):
    """A token that we never gave is the caller's mistake, not ours."""
    await place(manager)
    with pytest.raises(InvalidInputError):
        await manager.list_states(ADA, "orders", ListRequest(token=token))
    with pytest.raises(InvalidInputError):
        await manager.list_history(ADA, "orders", "1", HistoryRequest(token=token))
    with pytest.raises(InvalidInputError):
        await manager.list_states(ADA, "orders", ListRequest(size=-1))


async def test_the_relay_is_woken_after_commits_only(manager, commits):
    """`committed` is called for what was written, not for what was refused."""
    await place(manager)
    assert len(commits) == 1
    with pytest.raises(StateVersionConflictError):
        await place(manager)
    assert len(commits) == 1
    await manager.change(HANDLER, "orders", "1", Put(ORDER), expected=None)
    assert len(commits) == 2


async def test_a_batch_is_read_once_for_each_object(manager):
    """A name that stands in it many times costs and answers as one."""
    states = [await place(manager, key) for key in ("2", "1")]
    found = await manager.get(ADA, [("orders", key) for key in ("2", "1") * 200])
    assert found == states


async def test_a_batch_is_bounded_by_bytes(environment):
    """Objects that are too much together are refused with the field named; fewer of them are read."""
    async with StateManager.open({"notes": NOTES}, environment, max_data_bytes=200_000) as manager:
        for number in range(100):
            await manager.change(ADA, "notes", str(number), Put(json.dumps({"text": "x" * 100_000}).encode()), expected=0)
        names = [("notes", str(number)) for number in range(100)]
        with pytest.raises(InvalidInputError) as refused:
            await manager.get(ADA, names)
        assert refused.value.violations[0].pointer == "/keys"
        assert len(await manager.get(ADA, names[:60])) == 60
