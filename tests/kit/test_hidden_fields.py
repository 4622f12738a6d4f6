"""Fields that only some may see, as modules meet them: handlers, hooks, and the channels that follow their objects."""

from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest
import pytest_asyncio
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester

FILES = {
    "module.yaml": """\
        name: clinic
        permissions: { "clinic:all": See everything }
        roles: { doctor: ["clinic:all"] }
        """,
    "actions.yaml": """\
        actions:
          clinic.read: { handler: read, access: authenticated, input: { type: string } }
          clinic.note: { handler: note, access: authenticated, input: { type: string } }
        """,
    "states.yaml": """\
        namespaces:
          visits:
            schema:
              type: object
              additionalProperties: false
              properties:
                day: { type: string }
                notes: { type: string }
                bill: { type: integer }
                patient: { type: object, properties: { name: { type: string }, phone: { type: string } } }
            access: { read: authenticated, list: authenticated, create: authenticated, write: authenticated }
            fields:
              notes: { read: "clinic:all or actions" }
              patient.phone: { read: "owner or clinic:all" }
              bill: { read: authenticated, write: "clinic:all" }
        """,
    "realtime.yaml": """\
        namespaces:
          visits: { access: { subscribe: state:visits } }
          desk: { access: { subscribe: clinic:all } }
        """,
    "module.py": """\
        from typing import Any

        from stylobate.modules import ActionContext, BaseModule, Event, HookContext, on


        class Clinic(BaseModule):
            async def read(self, ctx: ActionContext, key: str) -> Any:
                visit = await ctx.state.get("visits", key)
                return visit and visit.data

            async def note(self, ctx: ActionContext, key: str) -> Any:
                return (await ctx.state.patch("visits", key, {"notes": "by a handler"})).data

            @on("state.visits.*")
            async def tell(self, ctx: HookContext, event: Event) -> None:
                await ctx.publish(f"visits:{event.subject}", event.data)
                await ctx.publish(f"desk:{event.subject}", event.data)
                await ctx.publish(f"visits:{event.subject}", {"notes": "the module's own words"})
        """,
}
WHOLE = {"day": "monday", "notes": "secret", "bill": 5, "patient": {"name": "Ada", "phone": "1234"}}


@pytest_asyncio.fixture
async def tester(tmp_path: Path) -> AsyncIterator[ActionTester]:
    """Give the clinic, with a visit that a doctor entered."""
    for name, text in FILES.items():
        (tmp_path / "clinic").mkdir(exist_ok=True)
        (tmp_path / "clinic" / name).write_text(dedent(text), encoding="utf-8")
    async with ActionTester.open(tmp_path / "clinic", limits=False) as tester:
        await tester.user("doctor", "doctor").state.put("visits", "1", WHOLE)
        yield tester


async def test_a_handler_sees_what_its_caller_sees_and_what_actions_may(tester: ActionTester) -> None:
    """It asks in the caller's name: a rule that names `actions` lets it see more than the caller."""
    bob = tester.user("bob")
    found = await bob.state.get("visits", "1")
    assert found is not None
    assert found.data == {"day": "monday", "bill": 5, "patient": {"name": "Ada"}}
    assert await bob.call("clinic.read", "1") == {**found.data, "notes": "secret"}
    assert (await bob.call("clinic.note", "1"))["notes"] == "by a handler"
    with pytest.raises(StylobateError) as refused:
        await bob.state.patch("visits", "1", {"notes": "by bob"})
    assert (refused.value.reason, refused.value.violations[0].pointer) == ("STATE_DATA_INVALID", "/notes")


async def test_a_channel_carries_what_all_may_see_who_hear_it(tester: ActionTester) -> None:
    """What a channel that follows the objects carries of an event lacks hidden fields; others carry what the module sends."""
    await tester.deliver()
    (first, told), (second, whole), own = tester.published
    assert (first, told["data"]) == ("visits:1", {"day": "monday", "bill": 5, "patient": {"name": "Ada"}})
    assert (second, whole["data"]) == ("desk:1", WHOLE)
    assert own == ("visits:1", {"notes": "the module's own words"})
