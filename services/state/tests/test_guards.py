"""Guards of transitions: asked beside the status, before anything is written."""

from dataclasses import replace

import pytest
import pytest_asyncio
from stylobate.errors import StylobateError
from stylobate_state.model import StateKey
from stylobate_state.operation import Put, Transition
from stylobate_state.state_manager import StateManager

from .samples import ADA, BOB, NOTES, ORDERS, write

OPEN = replace(ORDERS, access=NOTES.access, schema=None)


@pytest_asyncio.fixture
async def guarded(environment):
    """Give what opens a manager whose event ``pay`` has the guard, and places an object."""
    opened = []

    async def open_it(guard, data):
        transitions = ORDERS.transitions | {"pay": replace(ORDERS.transitions["pay"], guard=guard)}
        context = StateManager.open({"orders": replace(OPEN, transitions=transitions)}, environment, max_data_bytes=10_000)
        manager = await context.__aenter__()
        opened.append(context)
        await manager.change(ADA, "orders", "1", Put(data), expected=0)
        return manager

    yield open_it
    for context in opened:
        await context.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("guard", "data", "patch"),
    [
        ("data.total > 0", b'{"total": 1}', b""),
        ("data.total == 9223372036854775807", b'{"total": 9223372036854775807}', b""),
        ("data.total == 18446744073709551615u", b'{"total": 18446744073709551615}', b""),
        ("data.total < 10.05 && data.total > 10", b'{"total": 10.01}', b""),
        ("has(data.total) || data.note == 'free'", b'{"note": "free"}', b""),
        ("data.items.all(item, item.quantity > 0)", b'{"items": [{"quantity": 1}, {"quantity": 2}]}', b""),
        ("event.name == 'pay' && event.data.paid_by in ['card', 'cash']", b"{}", b'{"paid_by": "card"}'),
        ("!has(event.data.paid_by) && !has(data.paid_by)", b"{}", b""),
        ("principal.subject == object.owner && principal.kind == 'user' && principal.via == ''", b"{}", b""),
        ("object.status == 'pending' && object.version == 1 && object.key == '1'", b"{}", b""),
        ("now - object.created_at < duration('1h') && object.updated_at == now", b"{}", b""),
        ("data.ready", b'{"ready": true}', b""),
        ("data == 5", b"5", b""),
    ],
)
async def test_an_event_happens_where_its_guard_holds(guarded, guard, data, patch):
    """The guard sees the object before the event, what the event carries, who fires it and when; integers are exact."""
    manager = await guarded(guard, data)
    paid = await manager.change(ADA, "orders", "1", Transition("pay", patch), expected=None)
    assert (paid.status, paid.version) == ("paid", 2)


@pytest.mark.parametrize(
    ("guard", "data", "reason", "fault"),
    [
        ("data.total > 0", b'{"total": 0}', "STATE_GUARD_REFUSED", None),
        ("data.ready", b'{"ready": false}', "STATE_GUARD_REFUSED", None),
        ("now - object.created_at > duration('1h')", b"{}", "STATE_GUARD_REFUSED", None),
        ("data.total > 0", b"{}", "STATE_GUARD_FAILED", "total"),
        ("data.total > 0", b'{"total": "1"}', "STATE_GUARD_FAILED", "overload"),
        ("data.total > 0", b'{"total": null}', "STATE_GUARD_FAILED", "overload"),
        ("data.total > 0", b"[]", "STATE_GUARD_FAILED", ""),
        ("data.total + 1 > 0", b'{"total": 9223372036854775807}', "STATE_GUARD_FAILED", "overflow"),
        ("1 / data.total > 0", b'{"total": 0}', "STATE_GUARD_FAILED", "divide by zero"),
        ("data.ready", b'{"ready": "yes"}', "STATE_GUARD_FAILED", "is string, not true or false"),
        ("data.name.matches(data.pattern)", b'{"name": "a", "pattern": "("}', "STATE_GUARD_FAILED", "regular expression"),
        ("data.a.all(x, data.a.all(y, x + y >= 0))", b'{"a": [%s]}' % b",".join([b"1"] * 200), "STATE_GUARD_FAILED", "budget"),
    ],
)
async def test_a_guard_that_says_no_or_nothing_leaves_the_object_as_it_is(guarded, guard, data, reason, fault):
    """409 that names event and guard, and where the guard came to no answer, why; nothing is written."""
    manager = await guarded(guard, data)
    with pytest.raises(StylobateError) as refused:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    error = refused.value
    assert (error.reason, error.code.name) == (reason, "FAILED_PRECONDITION")
    assert (error.metadata["event"], error.metadata["status"], error.metadata["guard"]) == ("pay", "pending", guard)
    assert (fault is None) == ("fault" not in error.metadata)
    assert (fault or "") in error.metadata.get("fault", "")
    (kept,) = await manager.get(ADA, [("orders", "1")])
    assert (kept.version, kept.status) == (1, "pending")
    assert len((await manager.list_history(ADA, "orders", "1")).items) == 1


async def test_who_may_not_fire_the_event_hears_nothing_of_its_guard(guarded):
    """Access first, then the status, then the guard."""
    manager = await guarded("data.total > 0", b"{}")
    with pytest.raises(StylobateError) as refused:
        await manager.change(BOB, "orders", "1", Transition("pay"), expected=None)
    assert refused.value.reason == "PERMISSION_DENIED"
    with pytest.raises(StylobateError) as refused:
        await manager.change(ADA, "orders", "1", Transition("ship"), expected=None)
    assert refused.value.reason in {"PERMISSION_DENIED", "STATE_TRANSITION_NOT_ALLOWED"}


async def test_a_guard_is_asked_anew_for_the_version_that_is_written(guarded, memory):
    """A guard that held for a version that was overtaken is asked of the newer one."""
    manager = await guarded("data.total > 0", b'{"total": 1}')
    written, overtaken = memory.write, False

    async def slow_write(writes):
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            await written([write(StateKey("default", "orders", "1"), 1, b'{"total": 0}')])  # another process
        return await written(writes)

    memory.write = slow_write
    with pytest.raises(StylobateError) as refused:
        await manager.change(ADA, "orders", "1", Transition("pay"), expected=None)
    assert refused.value.reason == "STATE_GUARD_REFUSED"
