"""Whatever a module raises, wherever: its own failure, at once, named in the log; the process and its neighbours go on."""

import asyncio
from datetime import timedelta
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
from structlog.testing import capture_logs
from stylobate.config import Sources
from stylobate.errors import StylobateError
from stylobate.health import Status
from stylobate.modules.check import check_modules
from stylobate.testing.modules import ActionTester
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import Runner

from .conftest import Discover, WriteModule

LONG = timedelta(seconds=60)
"""Longer than any test may take: nothing here may end by running into its time."""

KINDS = {
    "ValueError": "raise ValueError('the text')",
    "SystemExit": "raise SystemExit('the text')",
    "KeyboardInterrupt": "raise KeyboardInterrupt('the text')",
    "CancelledError": "raise asyncio.CancelledError('the text')",
    "GeneratorExit": "raise GeneratorExit('the text')",
    "Panic": "raise Panic('the text')",
    "StopIteration": "raise StopIteration('the text')",
    "StopAsyncIteration": "raise StopAsyncIteration('the text')",
    "ExceptionGroup": "raise ExceptionGroup('the text', [ValueError('a'), TypeError('b')])",
    "BaseExceptionGroup": "raise BaseExceptionGroup('the text', [SystemExit(1)])",
    "RecursionError": "sink()",
    "Mute": "raise Mute",
    "Fatal": "raise Fatal",
    "Unsayable": "raise Unsayable('the text')",
}
"""By the class that is to be named."""

PRELUDE = """
import asyncio
from typing import Annotated, Any
import grpc
from pydantic import AfterValidator, BaseModel, PlainSerializer
from stylobate.modules import BaseModule, StylobateError, on

class Panic(BaseException):
    "As extensions raise it."

class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")

class Fatal(Exception):
    def __str__(self):
        raise SystemExit(4)
    __repr__ = __str__

class Unsayable(StylobateError):
    def __init__(self, text):
        super().__init__(text, metadata={{"n": object()}})

def sink():
    sink()

def fail(value=None):
{raising}
"""

MODULE = """
def odd(value):
    return fail() if value else value

class Input(BaseModel):
    flag: Annotated[bool, AfterValidator(odd)]

class Output(BaseModel):
    flag: Annotated[bool, PlainSerializer(odd)]

class M(BaseModule):
    async def handler(self, ctx) -> None:
        fail()

    async def late(self, ctx) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            fail()

    async def task(self, ctx) -> None:
        await asyncio.to_thread(fail)

    async def takes(self, ctx, input: Input) -> None: ...

    async def gives(self, ctx) -> Output:
        return Output(flag=True)

    async def store(self, ctx) -> None:
        await ctx.state.put("things", "1", {})

    async def before(self, ctx, event):
        fail()

    @on("state.others.created")
    async def hook(self, ctx, event):
        fail()

    async def make(self, ctx) -> None:
        await ctx.state.put("others", "1", {})

    async def well(self, ctx) -> str:
        return "well"
"""
ACTIONS = "actions:\n" + "".join(
    f"  things.{name}: {{ handler: {name}, access: public, timeout: 60s }}\n"
    for name in ("handler", "task", "takes", "gives", "store", "make", "well")
)
STATES = """
namespaces:
  things: { access: { create: actions, read: public }, before: { created: before } }
  others: { access: { create: actions, read: public } }
"""


def code(kind: str, module: str) -> str:
    """Return module.py for a kind of exception."""
    return PRELUDE.format(raising=indent(KINDS[kind], "    ")) + module


async def failure(user: Any, action: str, value: Any = None) -> StylobateError:
    """Call and return what the client sees, within a time that no timeout of the platform fits into."""
    with pytest.raises(StylobateError) as refused:
        async with asyncio.timeout(60):
            await user.call(action, value)
    return refused.value


def is_told(entries: list[Any], event: str, kind: str) -> bool:
    """Return whether the log names what was raised; a group and a fault of threads may stand one further down."""
    return any(entry["event"] == event and kind in entry["error"] and entry["exc_info"] for entry in entries)


def named(place: str, kind: str) -> str:
    """Return the name that is to be found: a coroutine turns StopIteration into RuntimeError (PEP 479) before we see it."""
    return "RuntimeError" if kind == "StopIteration" and place not in {"takes", *PLACES} - {"initialize"} else kind


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_raised_while_serving_is_the_calls_own_failure(write_module: WriteModule, kind: str) -> None:
    """In a handler, in a thread of it, in its types, in hooks: answered at once, told in the log, the next call is served."""
    modules = write_module("things", code(kind, MODULE), actions=ACTIONS, states=STATES)
    async with ActionTester.open(modules) as tester:
        user = tester.user("ada")
        for place, value in (("handler", None), ("task", None), ("takes", {"flag": True}), ("gives", None)):
            if (place, kind) in {("task", "StopIteration"), ("takes", "ValueError")}:
                continue  # no future holds the one; the other is how a type says no
            with capture_logs() as logs:
                error = await failure(user, f"things.{place}", value)
            assert (place, error.reason, error.http_status) == (place, "ACTION_FAILED", 500)
            assert place == "gives" or is_told(logs, "action_failed", named(place, kind)), (place, logs)
        with capture_logs() as logs:
            error = await failure(user, "things.store")
        assert (error.reason, error.http_status) == ("HOOK_FAILED", 500)
        assert is_told(logs, "hook_failed", named("before", kind)), logs
        await user.call("things.make")
        with capture_logs() as logs, pytest.raises(StylobateError) as refused:
            async with asyncio.timeout(60):
                await tester.deliver()
        assert refused.value.reason == ("INTERNAL" if kind == "Unsayable" else "HOOK_FAILED")
        assert await user.call("things.well") == "well"


PLACES = {
    "import": "fail()\nclass M(BaseModule): ...",
    "class body": "class M(BaseModule):\n    fail()",
    "constructor": "class M(BaseModule):\n    def __init__(self, *given):\n        fail()",
    "configure": "class M(BaseModule):\n    def configure(self):\n        fail()",
    "initialize": "class M(BaseModule):\n    async def initialize(self):\n        fail()",
}
WELL = """
from stylobate.modules import BaseModule

class M(BaseModule):
    async def dispose(self):
        open(f"{__file__}.disposed", "w").close()
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
async def test_what_is_raised_at_the_start_leaves_out_only_the_module(
    write_module: WriteModule, discover: Discover, runner: Runner, place: str, kind: str
) -> None:
    """The module is left out and told in the log with what it raised; the others run."""
    write_module("things", code(kind, PLACES[place]))
    modules = write_module("well", WELL)
    with capture_logs() as logs:
        async with asyncio.timeout(60), ModuleManager.open(await discover(modules), runner, start_timeout=LONG) as manager:
            assert (list(manager.running), list(manager.failures)) == (["well"], ["things"])
    expected = named(place, kind)
    assert expected in str([entry["findings"] for entry in logs if entry["event"] == "module_left_out"])
    if place != "initialize":
        (found,) = check_modules(str(modules), Sources({}, ()))
        assert (Path(found.file).name, found.line > 0, expected in found.message) == ("module.py", True, True)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_raised_at_the_end_or_when_asked_for_health_is_told(
    write_module: WriteModule, discover: Discover, runner: Runner, kind: str
) -> None:
    """The module that fails to say how it is is not well; one that fails to end stops no other from ending."""
    life = """
class M(BaseModule):
    async def health_check(self):
        fail()
    async def dispose(self):
        fail()
"""
    write_module("things", code(kind, life))
    modules = write_module("alone", WELL)
    with capture_logs() as logs:
        async with asyncio.timeout(60), ModuleManager.open(await discover(modules), runner, start_timeout=LONG) as manager:
            health = await manager.health()
            status = await manager.status("things")
    assert (health.status, status.status) == (Status.DEGRADED, Status.UNHEALTHY)
    assert "did_not_dispose" in str([entry["event"] for entry in logs])
    assert (modules / "alone" / "module.py.disposed").exists()


async def test_an_end_that_ignores_being_cancelled_holds_up_nobody(
    write_module: WriteModule, discover: Discover, runner: Runner
) -> None:
    """A module whose start never ends and does not hear of its cancellation is left out in time."""
    stubborn = """
class M(BaseModule):
    async def initialize(self):
        while not self.name.isupper():
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if getattr(self, "asked", 0) == 2:
                    raise
                self.asked = getattr(self, "asked", 0) + 1
"""
    modules = write_module("things", code("ValueError", stubborn))
    within = timedelta(milliseconds=50)
    async with asyncio.timeout(60), ModuleManager.open(await discover(modules), runner, start_timeout=within) as manager:
        assert "did not initialize within" in manager.failures["things"].detail


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_raised_when_nobody_waits_any_more_is_told(runner: Runner, kind: str) -> None:
    """Code that fails after its time still leaves a line, and ends nothing."""
    from stylobate.rpc.call import Call
    from stylobate_actions.runner import OverdueError

    scope: dict[str, Any] = {}
    exec(code(kind, ""), scope)
    ended = asyncio.Event()

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
            scope["fail"]()

    with capture_logs() as logs:
        with pytest.raises(OverdueError):
            await runner.run("things.late", Call(deadline=asyncio.get_running_loop().time() + 0.01), late)
        await ended.wait()
        await asyncio.sleep(0)
    told = [entry["running"] for entry in logs if entry["event"] == "failed_late"]
    assert told == ([] if kind == "CancelledError" else ["things.late"])
