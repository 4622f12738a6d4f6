"""The path of an action: its order, and what it does about handlers that misbehave."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.errors import StylobateError
from stylobate.modules.context import Platform
from stylobate.rpc.call import Call
from stylobate.testing.until import until
from stylobate_actions.action_manager import ActionManager
from stylobate_actions.runner import Runner

from .conftest import ALICE, Discover, Ports, WriteModule

ACTIONS = """
    actions:
      things.do: { handler: do, access: "things:do", rate_limit: 5/minute, input: { type: integer }, output: { type: integer } }
      things.raise_error: { handler: raise_error, access: authenticated }
      things.wait: { handler: wait, access: public, timeout: 50ms }
      things.wait_long: { handler: wait, access: public, timeout: 10s }
      things.ignore: { handler: ignore, access: public, timeout: 50ms }
      things.nothing: { handler: nothing, access: public }
      things.twice: { handler: twice, access: public, input: { type: integer } }
      things.circle: { handler: circle, access: public }
      things.context: { handler: context, access: public }
      things.bare: { handler: bare, access: public }
      things.declared: { handler: bare, access: public, output: { type: integer } }
      things.open: { handler: open, access: public, rate_limit: 5/minute }
"""
MODULE = """
    name: things
    version: "1.0.0"
    permissions: { "things:do": Do things }
"""
CODE = """
    import asyncio
    from dataclasses import dataclass
    from stylobate.modules import ActionContext, BaseModule, RefusedError
    from stylobate.rpc.call import call

    class Things(BaseModule):
        def __init__(self, name, settings=None):
            super().__init__(name, settings)
            self.entered = asyncio.Event()
            self.cancelled = asyncio.Event()
            self.released = asyncio.Event()

        async def do(self, ctx: ActionContext, number: int) -> object:
            return {1: 10, 2: "text", 3: object()}.get(number, number)

        async def raise_error(self, ctx: ActionContext, kind: str) -> None:
            errors = {
                "typed": RefusedError("NOT_TODAY", "Come back tomorrow."),
                "plain": ValueError("the password is swordfish"),
                "exit": SystemExit(3),
                "cancelled": asyncio.CancelledError(),
                "stop": StopAsyncIteration(),
            }
            raise errors[kind]

        async def wait(self, ctx: ActionContext) -> None:
            self.entered.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise

        async def ignore(self, ctx: ActionContext) -> str:
            while not self.released.is_set():
                try:
                    await self.released.wait()
                except asyncio.CancelledError:
                    self.cancelled.set()
            return "late"

        async def bare(self, ctx):
            return "text"

        async def nothing(self, ctx: ActionContext) -> None:
            return None

        async def twice(self, ctx: ActionContext, number: int) -> object:
            return [await ctx.call("things.do", number), await ctx.call("things.do", number)]

        async def circle(self, ctx: ActionContext) -> object:
            return await ctx.call("things.circle")

        async def context(self, ctx: ActionContext) -> object:
            return {
                "subject": ctx.principal.subject, "now": ctx.now, "left": (ctx.deadline - ctx.now).total_seconds(),
                "authorization": call().authorization, "deadline": call().deadline,
            }

        async def open(self, ctx: ActionContext) -> None:
            return None
"""
STUBBORN = ("stylobate_actions_stubborn_total", {"running": "things.ignore"})
NOW = datetime(2030, 1, 1, tzinfo=UTC)


class Things(NamedTuple):
    """A manager with the module above."""

    manager: ActionManager
    module: Any
    runner: Runner

    async def run(self, name: str, value: Any = None, caller: Call = ALICE, **more: Any) -> Any:
        """Execute an action with a Python value."""
        payload = b"" if value is None else orjson.dumps(value)
        return orjson.loads((await self.manager.execute(f"things.{name}", payload, caller, **more)).output)

    async def refusal(self, name: str, value: Any = None, caller: Call = ALICE, **more: Any) -> StylobateError:
        """Execute an action and return the error that it ends with."""
        with pytest.raises(StylobateError) as refused:
            await self.run(name, value, caller, **more)
        return refused.value


@pytest_asyncio.fixture
async def things(write_module: WriteModule, discover: Discover, ports: Ports) -> AsyncIterator[Things]:
    """Give the manager; nothing in it needs the state or realtime service."""
    (module,) = (await discover(write_module("things", CODE, module=MODULE, actions=ACTIONS))).loaded
    loop = asyncio.get_running_loop()
    async with Runner.open() as runner:
        manager = ActionManager(
            module.actions.values(), ["lost"], access=AccessEvaluator(ports), limits=ports, runner=runner, audit=ports, loop=loop
        )
        unused: Any = None
        manager.connect(
            Platform(
                state=unused,
                users=unused,
                publish=unused,
                call=manager.call,
                may=ports.allowed,
                databases={},
                granted=unused,
                now=lambda: NOW,
                loop_time=loop.time,
            )
        )
        yield Things(manager, module.instance, runner)
        module.instance.released.set()


async def test_an_action_runs_and_answers_with_its_limit(things: Things) -> None:
    """The bare output, and how the action's own limit stands."""
    reply = await things.manager.execute("things.do", b"1", ALICE)
    assert reply.output == b"10"
    assert reply.limit is not None
    assert (reply.limit.policy, reply.limit.quota) == ("things.do", 5)


@pytest.mark.parametrize("name", ["thing", "things", "things.d", "things.do ", "THINGS.DO", "things.do.more", ""])
async def test_only_the_exact_name_finds_an_action(things: Things, ports: Ports, name: str) -> None:
    """No part of a name runs anything, and nothing is asked or noted about what does not exist."""
    with pytest.raises(StylobateError) as refused:
        await things.manager.execute(name, b"1", ALICE)
    assert refused.value.reason == "ACTION_NOT_FOUND"
    assert (ports.asked, ports.noted) == ([], [])


async def test_an_action_whose_module_does_not_run_is_unavailable(things: Things) -> None:
    """It is declared, so it is not unknown; the caller may come back."""
    with pytest.raises(StylobateError) as refused:
        await things.manager.execute("lost.action", b"", ALICE)
    assert (refused.value.reason, refused.value.http_status) == ("ACTION_UNAVAILABLE", 503)


async def test_a_handler_without_a_return_annotation_is_checked_by_its_schema_alone(things: Things) -> None:
    """Without a schema either its answer goes out as it is, and the catalogue promises nothing of it."""
    assert await things.run("bare") == "text"
    assert (await things.refusal("declared")).reason == "ACTION_FAILED"


async def test_permission_comes_before_the_limit(things: Things, ports: Ports) -> None:
    """Who may not call is not charged."""
    ports.permissions = frozenset()
    assert (await things.refusal("do", 1)).reason == "PERMISSION_DENIED"
    assert ports.asked == ["permission things:do"]


async def test_the_limit_comes_before_validation(things: Things, ports: Ports) -> None:
    """Bad input is charged like good input, to the caller and tenant; past the limit it is not even looked at."""
    assert (await things.refusal("do", "x")).reason == "ACTION_INPUT_INVALID"
    assert ports.asked[-1] == "limit things.do default alice"
    ports.limit_left = 0
    assert (await things.refusal("do", "x")).reason == "RATE_LIMITED"


@pytest.mark.parametrize(
    ("address", "subject"),
    [
        ("", "anonymous"),
        ("192.0.2.7", "anonymous@192.0.2.7"),
        ("2001:db8:1:2::7", "anonymous@2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "anonymous@2001:db8:1:2::/64"),
        ("local", "anonymous@local"),
    ],
)
async def test_callers_without_a_name_are_counted_by_where_they_are(
    things: Things, ports: Ports, address: str, subject: str
) -> None:
    """One of them cannot use an open action up for all; nothing that a caller could choose stands in the subject."""
    await things.run("open", None, Call(client_address=address, client_agent="made up"))
    assert ports.asked == [f"limit things.open default {subject}"]


async def test_anonymous_callers_reach_public_actions_only(things: Things) -> None:
    """`authenticated` and a permission both ask who it is."""
    assert (await things.refusal("raise_error", "typed", Call())).reason == "UNAUTHENTICATED"
    assert (await things.refusal("do", 1, Call())).reason == "UNAUTHENTICATED"
    assert await things.run("nothing", None, Call()) is None


@pytest.mark.parametrize(
    ("payload", "content_type", "reason"),
    [
        (b"{", "application/json", "MALFORMED_JSON"),
        (b"\xff", "application/json", "MALFORMED_JSON"),
        (b"1", "text/plain", "UNSUPPORTED_MEDIA_TYPE"),
        (b'"1"', "application/json", "ACTION_INPUT_INVALID"),
        (b"true", "application/json", "ACTION_INPUT_INVALID"),
        (b"", "application/json", "ACTION_INPUT_INVALID"),
    ],
)
async def test_input_is_taken_as_declared_or_not_at_all(things: Things, payload: bytes, content_type: str, reason: str) -> None:
    """Nothing is converted on the way in: a text is not a number."""
    with pytest.raises(StylobateError) as refused:
        await things.manager.execute("things.do", payload, ALICE, content_type=content_type)
    assert refused.value.reason == reason


@pytest.mark.parametrize("content_type", ["", "application/json; charset=utf-8", "Application/JSON"])
async def test_the_content_type_of_json_has_many_spellings(things: Things, content_type: str) -> None:
    """Parameters and case do not matter."""
    assert (await things.manager.execute("things.do", b"1", ALICE, content_type=content_type)).output == b"10"


async def test_an_action_without_input_takes_none(things: Things) -> None:
    """Nothing, null and an empty object count as no input; anything else is refused, not dropped."""
    for payload in (b"", b"null", b"{}"):
        assert (await things.manager.execute("things.nothing", payload, ALICE)).output == b"null"
    assert (await things.refusal("nothing", {"a": 1})).reason == "ACTION_INPUT_INVALID"


async def test_a_typed_error_reaches_the_caller_unchanged(things: Things) -> None:
    """What the handler raised on purpose is what the caller sees."""
    error = await things.refusal("raise_error", "typed")
    assert (error.reason, error.detail, error.http_status) == ("NOT_TODAY", "Come back tomorrow.", 409)


@pytest.mark.parametrize("kind", ["plain", "exit", "cancelled", "stop"])
async def test_any_other_exception_is_a_failure_without_its_text(things: Things, kind: str) -> None:
    """The caller learns nothing of it; the log names module, action and place; the process and its neighbours go on."""
    with capture_logs() as logs:
        error = await things.refusal("raise_error", kind)
    assert (error.reason, error.http_status) == ("ACTION_FAILED", 500)
    assert "swordfish" not in f"{error.detail}{error.metadata}{error.violations}"
    (entry,) = [entry for entry in logs if entry["event"] == "action_failed"]
    assert (entry["module"], entry["action"], entry["request_id"]) == ("things", "things.raise_error", "r-1")
    assert entry["exc_info"].__traceback__ is not None
    assert await things.run("do", 1) == 10


@pytest.mark.parametrize("number", [2, 3])
async def test_a_wrong_output_is_the_actions_failure(things: Things, number: int) -> None:
    """Neither a value that the schema refuses nor one without a JSON form leaves."""
    assert (await things.refusal("do", number)).reason == "ACTION_FAILED"


async def test_a_handler_that_takes_too_long_is_cancelled(things: Things) -> None:
    """The caller hears ACTION_TIMEOUT and the handler hears of the cancellation."""
    error = await things.refusal("wait")
    assert (error.reason, error.http_status) == ("ACTION_TIMEOUT", 504)
    await things.module.cancelled.wait()


async def test_the_callers_deadline_holds_when_it_is_nearer(things: Things) -> None:
    """Ten seconds of its own do not help an action whose caller waits 50 ms."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    assert (await things.refusal("wait_long", None, replace(ALICE, deadline=started + 0.05))).reason == "ACTION_TIMEOUT"
    assert loop.time() - started < 5


async def test_a_handler_that_ignores_cancellation_harms_only_its_own_call(things: Things) -> None:
    """Its caller is answered in time, others are served meanwhile, and it is counted and named."""
    before = REGISTRY.get_sample_value(*STUBBORN) or 0
    with capture_logs() as logs:
        assert (await things.refusal("ignore")).reason == "ACTION_TIMEOUT"
        assert await things.run("do", 1) == 10
        await until(lambda: REGISTRY.get_sample_value(*STUBBORN) == before + 1, within_s=60)
    assert [entry["running"] for entry in logs if entry["event"] == "ignores_cancellation"] == ["things.ignore"]


async def test_a_caller_that_goes_away_takes_its_handler_along(things: Things, ports: Ports) -> None:
    """Cancelling the call cancels the handler, and both are noted."""
    call = asyncio.create_task(things.run("wait_long"))
    await things.module.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await things.module.cancelled.wait()
    assert ports.noted == [("things.wait_long", "alice", "CANCELLED")]


async def test_an_action_called_by_another_goes_the_same_path(things: Things, ports: Ports) -> None:
    """Permission and limit hold for `ctx.call` as for anyone, in the caller's name."""
    assert await things.run("twice", 7) == [7, 7]
    assert ports.asked == ["permission things:do", "limit things.do default alice"] * 2
    ports.permissions = frozenset()
    assert (await things.refusal("twice", 7)).reason == "PERMISSION_DENIED"


async def test_actions_that_call_each_other_without_end_are_stopped(things: Things, ports: Ports) -> None:
    """The circle ends with a typed error after a few rounds."""
    assert (await things.refusal("circle")).reason == "ACTION_RECURSION"
    assert len(ports.noted) == 10


async def test_the_context_tells_who_when_and_how_long(things: Things) -> None:
    """Handlers see the caller, the clock that was handed in, and the nearer deadline; their calls carry the token on."""
    deadline = asyncio.get_running_loop().time() + 4
    seen = await things.run("context", None, replace(ALICE, deadline=deadline))
    assert (seen["subject"], seen["authorization"], seen["now"]) == ("alice", "Bearer alice", NOW.isoformat())
    assert seen["deadline"] == pytest.approx(deadline)
    assert timedelta(0) < timedelta(seconds=seen["left"]) <= timedelta(seconds=4)


async def test_every_call_is_noted_with_its_outcome(things: Things, ports: Ports) -> None:
    """Success, refusal and failure leave a line each; so does the metric."""
    labels = {"action": "things.raise_error", "outcome": "NOT_TODAY"}
    before = REGISTRY.get_sample_value("stylobate_actions_seconds_count", labels) or 0
    await things.run("do", 1)
    await things.refusal("do", "x")
    await things.refusal("raise_error", "typed")
    assert ports.noted == [
        ("things.do", "alice", ""),
        ("things.do", "alice", "ACTION_INPUT_INVALID"),
        ("things.raise_error", "alice", "NOT_TODAY"),
    ]
    assert REGISTRY.get_sample_value("stylobate_actions_seconds_count", labels) == before + 1
