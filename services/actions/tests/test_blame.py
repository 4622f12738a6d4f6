"""Whose fault it is: a module's own defects are 500 and told to the operator; what its caller sent stays the caller's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester

from .conftest import WriteModule

NAMES = (
    "get_unknown", "get_many_unknown", "put_unknown", "patch_unknown", "delete_unknown", "move_unknown", "list_unknown",
    "history_unknown", "event_unknown", "put_wrong", "put_computed", "patch_wrong", "move_wrong", "key_wrong", "publish_unknown",
    "publish_invalid", "call_unknown", "call_wrong", "call_computed", "raise_foreign", "raise_unsayable",
)  # fmt: skip
ACTIONS = "actions:\n" + "".join(
    f"  desk.{name}: {{ handler: {name}, access: authenticated, input: {{}} }}\n"
    for name in (*NAMES, "put", "get", "call", "move", "publish", "refuse", "own", "not_there", "steal", "fresh")
)
ACTIONS += "  desk.typed: { handler: typed, access: public, input: { type: integer, maximum: 9 } }\n"
STATES = """
namespaces:
  notes:
    schema:
      type: object
      additionalProperties: false
      required: [text]
      properties: { text: { type: string, maxLength: 9 }, count: { type: integer, maximum: 99 } }
    initial: open
    access: { read: owner, list: owner, create: actions, write: actions, delete: owner }
    transitions: { close: { from: open, to: closed, access: owner, data: [count] } }
"""
REALTIME = "namespaces: { notes: { access: { subscribe: public } } }\n"
CODE = """
from typing import Any

from stylobate.errors import StylobateError
from stylobate.modules import BaseModule, RefusedError

class NotThere(RefusedError, status=404):
    reason = "DESK_NOT_THERE"

class Unsayable(StylobateError):
    reason = "UNSAYABLE"

    def __init__(self):
        super().__init__("the text", metadata={"number": 1})

class Desk(BaseModule):
    async def get_unknown(self, ctx, given) -> Any:
        return await ctx.state.get("ntoes", "1")

    async def get_many_unknown(self, ctx, given) -> Any:
        return await ctx.state.get_many("ntoes", ["1", "2"])

    async def put_unknown(self, ctx, given) -> Any:
        await ctx.state.put("ntoes", "1", {"text": given})

    async def patch_unknown(self, ctx, given) -> Any:
        await ctx.state.patch("ntoes", "1", {"text": given})

    async def delete_unknown(self, ctx, given) -> Any:
        await ctx.state.delete("ntoes", "1")

    async def move_unknown(self, ctx, given) -> Any:
        await ctx.state.transition("ntoes", "1", "close")

    async def list_unknown(self, ctx, given) -> Any:
        return [note async for note in ctx.state.list("ntoes")]

    async def history_unknown(self, ctx, given) -> Any:
        return [change async for change in ctx.state.history("ntoes", "1")]

    async def event_unknown(self, ctx, given) -> Any:
        await ctx.state.put("notes", "e", {"text": "x"})
        await ctx.state.transition("notes", "e", "clsoe")

    async def put_wrong(self, ctx, given) -> Any:
        await ctx.state.put("notes", "1", {"txt": given})

    async def put_computed(self, ctx, given) -> Any:
        await ctx.state.put("notes", "1", {"text": "x", "count": 50 * len(given)})

    async def patch_wrong(self, ctx, given) -> Any:
        await ctx.state.put("notes", "p", {"text": "x"})
        await ctx.state.patch("notes", "p", {"text": None})

    async def move_wrong(self, ctx, given) -> Any:
        await ctx.state.put("notes", "m", {"text": "x"})
        await ctx.state.transition("notes", "m", "close", {"count": "many"})

    async def key_wrong(self, ctx, given) -> Any:
        await ctx.state.get("notes", "a\\x00b")

    async def publish_unknown(self, ctx, given) -> Any:
        await ctx.publish("ntoes:1", given)

    async def publish_invalid(self, ctx, given) -> Any:
        await ctx.publish(f"notes:{300 * 'x'}", given)

    async def call_unknown(self, ctx, given) -> Any:
        await ctx.call("desk.tyepd", 1)

    async def call_wrong(self, ctx, given) -> Any:
        await ctx.call("desk.typed", {"number": 1})

    async def call_computed(self, ctx, given) -> Any:
        await ctx.call("desk.typed", 100 * len(given))

    async def raise_foreign(self, ctx, given) -> Any:
        raise LookupError("a defect")

    async def raise_unsayable(self, ctx, given) -> Any:
        raise Unsayable

    async def typed(self, ctx, number) -> Any:
        return number

    async def put(self, ctx, given) -> Any:
        return (await ctx.state.put("notes", given["key"], {"text": given["text"]})).version

    async def fresh(self, ctx, given) -> Any:
        return (await ctx.state.put("notes", given["key"], given["data"], expected_version=0)).version

    async def get(self, ctx, given) -> Any:
        return await ctx.state.get(given["namespace"], given["key"])

    async def call(self, ctx, given) -> Any:
        return await ctx.call(given["action"], given["input"])

    async def move(self, ctx, given) -> Any:
        await ctx.state.transition("notes", given["key"], given["event"])

    async def publish(self, ctx, given) -> Any:
        await ctx.publish(f"notes:{given['key']}", 1)

    async def refuse(self, ctx, given) -> Any:
        ctx.refuse("DESK_CLOSED", "Come back tomorrow.")

    async def own(self, ctx, given) -> Any:
        raise RefusedError("DESK_ODD", "Odd.", status=422)

    async def not_there(self, ctx, given) -> Any:
        raise NotThere

    async def steal(self, ctx, given) -> Any:
        await ctx.state.transition("notes", "of-ada", "close")
"""


@pytest_asyncio.fixture
async def tester(write_module: WriteModule) -> AsyncIterator[ActionTester]:
    """Serve the module."""
    async with ActionTester.open(write_module("desk", CODE, actions=ACTIONS, states=STATES, realtime=REALTIME)) as opened:
        yield opened


async def refusal(user: Any, action: str, given: Any) -> StylobateError:
    """Return what the client sees."""
    with pytest.raises(StylobateError) as refused:
        await user.call(action, given)
    return refused.value


@pytest.mark.parametrize("name", NAMES)
async def test_a_defect_of_the_module_is_500_counted_and_told(tester: ActionTester, name: str) -> None:
    """The caller learns nothing but that; the log names what was refused; the metric counts a failure."""
    labels = {"action": f"desk.{name}", "outcome": "ACTION_FAILED"}
    before = REGISTRY.get_sample_value("stylobate_actions_seconds_count", labels) or 0
    with capture_logs() as logs:
        error = await refusal(tester.user("ada"), f"desk.{name}", "four")
    assert (error.reason, error.http_status, error.violations) == ("ACTION_FAILED", 500, ())
    (entry,) = [entry for entry in logs if entry["event"] == "action_failed"]
    assert entry["action"] == f"desk.{name}"
    assert entry["error"]
    assert REGISTRY.get_sample_value("stylobate_actions_seconds_count", labels) == before + 1


@pytest.mark.parametrize(
    ("action", "given", "reason", "status"),
    [
        ("put", {"key": "1", "text": "longer than nine"}, "STATE_DATA_INVALID", 422),
        ("put", {"key": "1", "text": 7}, "STATE_DATA_INVALID", 422),
        ("fresh", {"key": "1", "data": {"txt": 1}}, "STATE_DATA_INVALID", 422),
        ("fresh", {"key": "of-ada", "data": {"text": "x"}}, "STATE_VERSION_CONFLICT", 412),
        ("get", {"namespace": "ntoes", "key": "1"}, "STATE_NAMESPACE_UNKNOWN", 404),
        ("get", {"namespace": "notes", "key": "k" * 5000}, "STATE_KEY_INVALID", 422),
        ("move", {"key": "of-ada", "event": "clsoe"}, "STATE_EVENT_UNKNOWN", 404),
        ("move", {"key": "nowhere", "event": "close"}, "STATE_NOT_FOUND", 404),
        ("publish", {"key": "k" * 300}, "REALTIME_CHANNEL_INVALID", 422),
        ("call", {"action": "desk.nothing", "input": 1}, "ACTION_NOT_FOUND", 404),
        ("call", {"action": "desk.typed", "input": 10}, "ACTION_INPUT_INVALID", 422),
        ("typed", 10, "ACTION_INPUT_INVALID", 422),
        ("refuse", None, "DESK_CLOSED", 409),
        ("own", None, "DESK_ODD", 422),
        ("not_there", None, "DESK_NOT_THERE", 404),
    ],
)
async def test_what_the_caller_could_have_done_better_stays_the_callers(
    tester: ActionTester, action: str, given: Any, reason: str, status: int
) -> None:
    """Its own input, refused further in; the rules of state; and the module's own refusals, unchanged."""
    ada = tester.user("ada")
    await ada.call("desk.put", {"key": "of-ada", "text": "x"})
    error = await refusal(ada, f"desk.{action}", given)
    assert (error.reason, error.http_status) == (reason, status)


async def test_what_the_caller_may_not_is_the_callers(tester: ActionTester) -> None:
    """What a caller may not see is not there for the handlers that it calls, which is not a defect of theirs."""
    await tester.user("ada").call("desk.put", {"key": "of-ada", "text": "x"})
    assert (await refusal(tester.user("eve"), "desk.steal", None)).reason == "STATE_NOT_FOUND"
