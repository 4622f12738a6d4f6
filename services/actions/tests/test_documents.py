"""Documents on their way through an action: input, state, events, publications and output hold to one strict JSON."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.errors import StylobateError
from stylobate.strict_json import MAX_INTEGER, MIN_INTEGER
from stylobate.testing.modules import ActionTester, TestUser

from .conftest import WriteModule

ACTIONS = """
    actions:
      free.echo: { handler: echo, access: public }
      free.keep: { handler: keep, access: public }
      free.bad: { handler: bad, access: public }
"""
STATES = """
    namespaces:
      free:
        access: { read: public, list: public, create: public, write: public, delete: public }
"""
REALTIME = """
    namespaces:
      free:
        access: { subscribe: public }
"""
CODE = """
    from typing import Any
    from stylobate.modules import ActionContext, BaseModule, Event, HookContext, on

    class Free(BaseModule):
        async def echo(self, ctx: ActionContext, value: Any) -> Any:
            return value

        async def keep(self, ctx: ActionContext, value: Any) -> Any:
            first = await ctx.state.put("free", "1", value)
            found = await ctx.state.get("free", "1")
            again = await ctx.state.put("free", "1", found.data)
            return [first.data, found.data, again.data, (await ctx.state.get("free", "1")).data]

        async def bad(self, ctx: ActionContext, where: str) -> Any:
            value = {"nan": float("nan"), "inf": [float("-inf")], "big": 2**64, "nul": "a\\0b", "surrogate": "\\ud800"}[where]
            match ctx.principal.subject:
                case "putter":
                    await ctx.state.put("free", "bad", value)
                case "patcher":
                    await ctx.state.patch("free", "1", {"a": value})
                case "publisher":
                    await ctx.publish("free:1", value)
                case "caller":
                    await ctx.call("free.echo", value)
                case _:
                    return value

        @on("state.free.*")
        async def tell(self, ctx: HookContext, event: Event) -> None:
            await ctx.publish(f"free:{event.subject}", event.value()["data"])
"""


@pytest_asyncio.fixture
async def tester(write_module: WriteModule) -> AsyncIterator[ActionTester]:
    """Serve the module."""
    async with ActionTester.open(write_module("free", CODE, actions=ACTIONS, states=STATES, realtime=REALTIME)) as opened:
        yield opened


async def execute(user: TestUser, payload: bytes) -> bytes:
    """Send bytes as they are."""
    request = ExecuteActionRequest(action="free.echo", input=payload, content_type="application/json")
    output: bytes = (await user._actions.ExecuteAction(request)).output
    return output


@pytest.mark.parametrize(
    ("payload", "reason", "pointer"),
    [
        (b'{"a":[18446744073709551616]}', "ACTION_INPUT_INVALID", "/a/0"),
        (b"-9223372036854775809", "ACTION_INPUT_INVALID", ""),
        (b'{"a":1e400}', "ACTION_INPUT_INVALID", "/a"),
        (b'{"a":"\\u0000"}', "ACTION_INPUT_INVALID", "/a"),
        (b'["\\ud800"]', "ACTION_INPUT_INVALID", "/0"),
        (b"[" * 65 + b"]" * 65, "ACTION_INPUT_INVALID", ""),
        (b'{"a":' * 1000 + b"1" + b"}" * 1000, "ACTION_INPUT_INVALID", ""),
        (b"[" * 100_000 + b"]" * 100_000, "ACTION_INPUT_INVALID", ""),
        (b"NaN", "MALFORMED_JSON", None),
        (b"\xef\xbb\xbf{}", "MALFORMED_JSON", None),
        ('"é"'.encode("utf-16"), "MALFORMED_JSON", None),
        (b'"\xff"', "MALFORMED_JSON", None),
        (b'{"a":', "MALFORMED_JSON", None),
    ],
)
async def test_input_that_is_not_carried_is_refused_with_its_place(
    tester: ActionTester, payload: bytes, reason: str, pointer: str | None
) -> None:
    """What is JSON is never called malformed, and nothing of it is a failure of the platform."""
    with pytest.raises(StylobateError) as refused:
        await execute(tester.anonymous, payload)
    assert refused.value.reason == reason
    assert refused.value.http_status == (400 if pointer is None else 422)
    if pointer is not None:
        assert [violation.pointer for violation in refused.value.violations] == [pointer]


@pytest.mark.parametrize(
    "value",
    [
        MAX_INTEGER,
        MIN_INTEGER,
        2**53 + 1,
        [2**63 - 1, {"a": -(2**53) - 1}],
        1e23,
        1.1,
        5e-324,
        1e300,
        {"é": "\u2028"},
        {"": None},
    ],
)
async def test_a_value_goes_all_the_way_and_comes_back_unchanged(tester: ActionTester, value: object) -> None:
    """Through action, state, a read that is written back, the event, its hook and the publication: types and digits."""
    assert await tester.anonymous.call("free.echo", value) == value
    kept = await tester.anonymous.call("free.keep", value)
    assert kept == [value] * 4
    assert [type(found) for found in kept] == [type(value)] * 4
    await tester.deliver()
    assert [data for _, data in tester.published] == [value, value]


@pytest.mark.parametrize("who", ["putter", "patcher", "publisher", "caller", "returner"])
@pytest.mark.parametrize("where", ["nan", "inf", "big", "nul", "surrogate"])
async def test_what_a_handler_makes_that_is_no_json_is_its_defect(tester: ActionTester, who: str, where: str) -> None:
    """It does not become null or a rounded number: the action fails, nothing is stored or published."""
    await tester.anonymous.state.put("free", "1", {})
    with pytest.raises(StylobateError) as failed:
        await tester.user(who).call("free.bad", where)
    assert failed.value.reason == "ACTION_FAILED"
    assert await tester.anonymous.state.get("free", "bad") is None
    assert tester.published == []
