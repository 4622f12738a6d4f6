"""Calls with an idempotency key: a handler that is run again changes nothing twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from stylobate.errors import StylobateError
from stylobate.modules.base import BaseModule
from stylobate.modules.steps import Steps
from stylobate.testing import FakeClock
from stylobate.testing.modules import ActionTester

from .conftest import WriteModule

ACTIONS = """
    actions:
      desk.make: { handler: make, access: authenticated, timeout: 2s }
      desk.pair: { handler: pair, access: authenticated, timeout: 2s }
      desk.improve: { handler: improve, access: authenticated, timeout: 2s }
      desk.careless: { handler: careless, access: authenticated, timeout: 2s }
      desk.twice: { handler: twice, access: authenticated, timeout: 2s }
      desk.refuse: { handler: refuse, access: authenticated, timeout: 2s }
      desk.announce: { handler: announce, access: authenticated, timeout: 2s }
      desk.turn: { handler: turn, access: authenticated, timeout: 2s }
      desk.secret: { handler: secret, access: authenticated, timeout: 2s, idempotent: false }
      desk.wrap: { handler: wrap, access: authenticated, timeout: 2s }
      desk.wait: { handler: wait, access: authenticated, timeout: 2s }
      desk.late: { handler: late, access: authenticated, timeout: 100ms }
"""
STATES = """
    namespaces:
      desks:
        access: { create: authenticated, read: authenticated, list: authenticated, write: authenticated }
"""
CHANNELS = """
    namespaces:
      desk:
        access: { subscribe: authenticated }
"""
CODE = """
    import asyncio
    from typing import Any
    from stylobate.ids import new_id
    from stylobate.modules import ActionContext, BaseModule, UnavailableError

    class Desk(BaseModule):
        runs = 0

        def configure(self) -> None:
            type(self).instance = self
            self.fails = set()
            self.go = asyncio.Event()
            self.begun = asyncio.Event()

        def fail_once(self, place: str) -> None:
            if place in self.fails:
                self.fails.discard(place)
                raise UnavailableError(place)

        async def make(self, ctx: ActionContext, wanted: dict[str, Any]) -> Any:
            self.runs += 1
            made = await ctx.state.put("desks", ctx.new_id(), {"at": ctx.now.isoformat()}, expected_version=0)
            return [made.key, made.data["at"], self.runs]

        async def pair(self, ctx: ActionContext, wanted: dict[str, Any]) -> list[str]:
            self.runs += 1
            self.fail_once("before")
            one = await ctx.state.put("desks", ctx.new_id(), {"at": ctx.now.isoformat()}, expected_version=0)
            self.fail_once("between")
            two = await ctx.state.put("desks", ctx.new_id(), {"beside": one.key}, expected_version=0)
            self.fail_once("after")
            return [one.key, two.key]

        async def improve(self, ctx: ActionContext, key: str) -> Any:
            desk = await ctx.state.get("desks", key)
            better = await ctx.state.patch("desks", key, {"n": desk.data.get("n", 0) + 1}, expected_version=desk.version)
            self.fail_once("after")
            return better.data["n"]

        async def careless(self, ctx: ActionContext) -> str:
            made = await ctx.state.put("desks", new_id(), {}, expected_version=0)
            self.fail_once("after")
            return made.key

        async def announce(self, ctx: ActionContext, channels: list[str]) -> int:
            self.runs += 1
            for number, channel in enumerate(channels):
                await ctx.publish(channel, {"number": number, "run": self.runs})
                self.fail_once(str(number))
            return self.runs

        async def secret(self, ctx: ActionContext) -> int:
            self.runs += 1
            return self.runs

        async def wrap(self, ctx: ActionContext) -> bool:
            await ctx.call("desk.secret")
            self.fail_once("after")
            return True

        async def turn(self, ctx: ActionContext) -> None:
            self.runs += 1
            await ctx.publish(f"desk:{self.runs}", self.runs)
            self.fail_once("after")

        async def twice(self, ctx: ActionContext) -> Any:
            pairs = await asyncio.gather(ctx.call("desk.pair", {}), ctx.call("desk.pair", {}))
            self.fail_once("outside")
            return [*pairs, ctx.new_id()]

        async def refuse(self, ctx: ActionContext, is_written: bool) -> None:
            if is_written:
                await ctx.state.put("desks", ctx.new_id(), {}, expected_version=0)
            ctx.refuse("NOT_NOW", "Not now.")

        async def wait(self, ctx: ActionContext) -> int:
            self.runs += 1
            self.begun.set()
            await self.go.wait()
            return self.runs

        async def late(self, ctx: ActionContext) -> int:
            self.runs += 1
            self.begun.set()
            while not self.go.is_set():
                try:
                    await self.go.wait()
                except asyncio.CancelledError:
                    pass
            return self.runs
"""


class Desks:
    """The module, and Alice who calls it."""

    def __init__(self, tester: ActionTester, clock: FakeClock, module: Any) -> None:
        self.tester = tester
        self.alice = tester.user("alice")
        self.bob = tester.user("bob")
        self.clock = clock
        self.module = module

    async def count(self) -> int:
        """Return how many objects there are."""
        return len([desk async for desk in self.alice.state.list("desks")])

    async def refusal(self, action: str, value: Any, key: str) -> StylobateError:
        """Call an action and return the error that it ends with."""
        with pytest.raises(StylobateError) as refused:
            await self.alice.call(action, value, key)
        return refused.value


@pytest_asyncio.fixture
async def desks(write_module: WriteModule) -> AsyncIterator[Desks]:
    """Serve the module on the services in memory."""
    clock = FakeClock()
    async with ActionTester.open(
        write_module("desk", CODE, actions=ACTIONS, states=STATES, realtime=CHANNELS), clock=clock, limits=False
    ) as tester:
        made: list[Any] = [known for known in BaseModule.__subclasses__() if known.__name__ == "Desk"]
        yield Desks(tester, clock, made[-1].instance)


async def test_what_a_run_published_is_not_published_again(desks: Desks) -> None:
    """Wherever it fails: each push is sent once, as it was the first time. Without a key it is sent each time."""
    desks.module.fails = {"0", "1"}
    channels = ["desk:1", "desk:2", "desk:1"]
    for _ in range(2):
        assert (await desks.refusal("desk.announce", channels, "k")).reason == "UNAVAILABLE"
    assert [await desks.alice.call("desk.announce", channels, "k") for _ in range(2)] == [3, 3]
    sent = [(channel, data["number"], data["run"]) for channel, data in desks.tester.published]
    assert sent == [("desk:1", 0, 1), ("desk:2", 1, 2), ("desk:1", 2, 3)]
    await desks.alice.call("desk.announce", ["desk:1"])
    await desks.alice.call("desk.announce", ["desk:1"], "l")
    assert len(desks.tester.published) == 5


async def test_a_run_that_publishes_elsewhere_the_second_time_is_stopped(desks: Desks) -> None:
    """Nobody can tell then what was sent: that is the handler's defect."""
    desks.module.fails = {"after"}
    assert (await desks.refusal("desk.turn", None, "k")).reason == "UNAVAILABLE"
    assert (await desks.refusal("desk.turn", None, "k")).reason == "ACTION_FAILED"
    assert [channel for channel, _ in desks.tester.published] == ["desk:1"]


async def test_an_action_is_run_once(desks: Desks) -> None:
    """The same key and input: one run, one answer. Without a key, with another, or of somebody else it is run again."""
    first = await desks.alice.call("desk.make", {}, "k")
    assert [await desks.alice.call("desk.make", {}, "k") for _ in range(2)] == [first, first]
    await desks.alice.call("desk.make", {})
    await desks.alice.call("desk.make", {}, "l")
    await desks.bob.call("desk.make", {}, "k")
    assert (await desks.count(), desks.module.runs) == (4, 4)


async def test_another_input_with_the_key_is_refused(desks: Desks) -> None:
    """Nothing is run; the same key with another action is another key."""
    await desks.alice.call("desk.make", {"a": 1}, "k")
    assert (await desks.refusal("desk.make", {"a": 2}, "k")).reason == "IDEMPOTENCY_KEY_REUSED"
    assert await desks.alice.call("desk.pair", {"a": 1}, "k")
    assert await desks.count() == 3


@pytest.mark.parametrize("place", ["before", "between", "after"])
async def test_a_run_that_failed_goes_on_where_it_ended(desks: Desks, place: str) -> None:
    """Wherever it fails, the call sent again ends with the same two objects, once."""
    desks.module.fails = {place}
    assert (await desks.refusal("desk.pair", {}, "k")).reason == "UNAVAILABLE"
    before = {desk.key async for desk in desks.alice.state.list("desks")}
    pair = await desks.alice.call("desk.pair", {}, "k")
    assert await desks.alice.call("desk.pair", {}, "k") == pair
    assert {desk.key async for desk in desks.alice.state.list("desks")} == set(pair) >= before
    assert desks.module.runs == 2


async def test_time_stands_still_for_a_run(desks: Desks) -> None:
    """What a run writes of the time is that of its first beginning, whenever it is run again."""
    desks.module.fails = {"between"}
    await desks.refusal("desk.pair", {}, "k")
    began = desks.clock()
    desks.clock.advance(timedelta(minutes=5))
    first, _ = await desks.alice.call("desk.pair", {}, "k")
    kept = await desks.alice.state.get("desks", first)
    assert kept is not None
    assert kept.data == {"at": began.isoformat()}


async def test_what_was_read_may_have_become_newer(desks: Desks) -> None:
    """A handler that improves what it reads does so once, though its second run reads what the first one wrote."""
    key, *_ = await desks.alice.call("desk.make", {})
    desks.module.fails = {"after"}
    await desks.refusal("desk.improve", key, "k")
    assert [await desks.alice.call("desk.improve", key, "k") for _ in range(2)] == [1, 1]
    kept = await desks.alice.state.get("desks", key)
    assert kept is not None
    assert (kept.version, kept.data["n"]) == (2, 1)


async def test_a_handler_that_makes_up_another_id_is_stopped(desks: Desks) -> None:
    """An id that is another in the second run would be a second object: it is the module's defect, and nothing more is made."""
    desks.module.fails = {"after"}
    await desks.refusal("desk.careless", None, "k")
    assert (await desks.refusal("desk.careless", None, "k")).reason == "ACTION_FAILED"
    assert await desks.count() == 1


async def test_calls_of_other_actions_are_steps_too(desks: Desks) -> None:
    """Two calls at once of one action are two runs; both are once what they were when the outer action is run again."""
    desks.module.fails = {"outside", "between"}
    assert {(await desks.refusal("desk.twice", None, "k")).reason for _ in range(2)} == {"UNAVAILABLE"}
    one, two, made = await desks.alice.call("desk.twice", None, "k")
    assert len({*one, *two, made}) == 5
    assert await desks.alice.call("desk.twice", None, "k") == [one, two, made]
    assert await desks.count() == 4


async def test_a_refusal_that_changed_nothing_frees_the_key(desks: Desks) -> None:
    """With the same key another input may come; once something was written, only the same one."""
    assert (await desks.refusal("desk.refuse", value := False, "k")).reason == "NOT_NOW"
    assert (await desks.refusal("desk.refuse", not value, "k")).reason == "NOT_NOW"
    assert (await desks.refusal("desk.refuse", value, "k")).reason == "IDEMPOTENCY_KEY_REUSED"
    assert (await desks.refusal("desk.refuse", not value, "k")).reason == "NOT_NOW"
    assert await desks.count() == 1


async def test_an_input_that_does_not_fit_frees_the_key(desks: Desks) -> None:
    """What never reached the handler has not used the key."""
    assert (await desks.refusal("desk.improve", 7, "k")).reason == "ACTION_INPUT_INVALID"
    key, *_ = await desks.alice.call("desk.make", {})
    assert await desks.alice.call("desk.improve", key, "k") == 1


async def test_calls_meanwhile_wait_for_the_first(desks: Desks) -> None:
    """Thirty at once are one run; all have its answer."""
    calls = [asyncio.create_task(desks.alice.call("desk.wait", None, "k")) for _ in range(30)]
    await desks.module.begun.wait()
    desks.module.go.set()
    assert await asyncio.gather(*calls) == [1] * 30
    assert desks.module.runs == 1


async def test_a_handler_that_goes_on_after_its_time_is_not_doubled(desks: Desks) -> None:
    """While it runs a second call is told that it does; what it answers in the end is the answer of both."""
    assert (await desks.refusal("desk.late", None, "k")).reason == "ACTION_TIMEOUT"
    assert (await desks.refusal("desk.late", None, "k")).reason == "IDEMPOTENCY_IN_PROGRESS"
    desks.module.go.set()
    assert await desks.alice.call("desk.late", None, "k") == 1
    assert desks.module.runs == 1


async def test_ids_of_a_run_are_ids_like_others(desks: Desks) -> None:
    """They are UUIDs of version 7 with the time of the run, in order; those of another run are others."""
    steps = [Steps(run, desks.clock()) for run in ("a", "a", "b")]
    one, same, other = ([step.new_id() for _ in range(5000)] for step in steps)
    assert one == same == sorted(one)
    assert not set(one) & set(other)
    for made in map(UUID, one):
        assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert UUID(one[0]).int >> 80 == int(desks.clock().timestamp() * 1000)


@pytest.mark.parametrize("key", ["k" * 256, "a\nb", "é"])
async def test_a_key_that_cannot_be_kept_is_refused(desks: Desks, key: str) -> None:
    """As every service refuses it."""
    refused = await desks.refusal("desk.make", {}, key)
    assert (refused.reason, refused.violations[0].pointer) == ("INVALID_INPUT", "/idempotency_key")


async def test_an_action_that_keeps_no_answers_takes_no_keys(desks: Desks) -> None:
    """A call with one is refused and nothing is run; called by a run it is run each time."""
    assert (await desks.refusal("desk.secret", None, "k")).reason == "IDEMPOTENCY_KEY_REFUSED"
    assert (desks.module.runs, await desks.alice.call("desk.secret")) == (0, 1)
    desks.module.fails = {"after"}
    assert (await desks.refusal("desk.wrap", None, "k")).reason == "UNAVAILABLE"
    assert await desks.alice.call("desk.wrap", None, "k") is True
    assert desks.module.runs == 3
