"""on_enter, on_exit and do: actions that are called after a change of status."""

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.errors import StylobateError
from stylobate.modules.check import check_modules
from stylobate.outbox.event import Event
from stylobate.testing.modules import ActionTester

STATES = """\
namespaces:
  orders:
    initial: new
    access: { read: owner, create: authenticated, write: owner, delete: owner }
    transitions:
      pay: { from: new, to: paid, access: owner, data: [card], do: mill.charged }
      again: { from: paid, to: paid, access: owner }
    on_enter: { new: [mill.welcome, mill.count], paid: mill.thank }
    on_exit: { new: mill.count }
"""
ACTIONS = """\
actions:
  mill.welcome: { handler: note, access: authenticated }
  mill.count: { handler: count, access: authenticated }
  mill.charged: { handler: note, access: authenticated }
  mill.thank: { handler: thank, access: authenticated }
"""
CODE = """
    from typing import Any

    from stylobate.modules import ActionContext, BaseModule


    class Mill(BaseModule):
        noted: list[Any] = []

        async def note(self, ctx: ActionContext, told: Any) -> None:
            self.noted.append((told["status"], ctx.principal.subject, ctx.principal.kind.value, told["key"], told["data"]))

        async def count(self, ctx: ActionContext, told: Any) -> None:
            self.noted.append("counted")

        async def thank(self, ctx: ActionContext, told: Any) -> None:
            if told["data"].get("card") == "stolen":
                ctx.refuse("CARD_STOLEN", "That card is stolen.")
            self.noted.append((told["event"], told["from"], told["status"]))
"""


def write(folder: Path, states: str = STATES, actions: str = ACTIONS) -> Path:
    """Write the module and return its folder."""
    folder = folder / "mill"
    folder.mkdir()
    for name, text in {"module.yaml": "name: mill\n", "states.yaml": states, "actions.yaml": actions, "module.py": CODE}.items():
        (folder / name).write_text(dedent(text), encoding="utf-8")
    return folder


async def noted_by(tester: ActionTester) -> list[Any]:
    """Deliver, and return what the actions noted meanwhile."""
    import sys

    await tester.deliver()
    (mill,) = [module.Mill for name, module in sys.modules.items() if "mill" in name and hasattr(module, "Mill")][-1:]
    noted, mill.noted[:] = list(mill.noted), []
    return noted


async def test_actions_are_called_as_the_service_for_who_made_the_change(tmp_path: Path) -> None:
    """Each moment has its own; they are told what the event tells, and run on behalf of its actor."""
    async with ActionTester.open(write(tmp_path)) as tester:
        ada = tester.user("ada")
        await ada.state.put("orders", "1", {"a": 1})
        assert await noted_by(tester) == [("new", "ada", "service", "1", {"a": 1}), "counted"]
        await ada.state.patch("orders", "1", {"a": 2})
        assert await noted_by(tester) == []
        await ada.state.transition("orders", "1", "pay", {"card": "x"})
        paid = ("paid", "ada", "service", "1", {"a": 2, "card": "x"})
        assert sorted(map(str, await noted_by(tester))) == sorted(map(str, [paid, "counted", ("pay", "new", "paid")]))
        await ada.state.transition("orders", "1", "again")
        assert await noted_by(tester) == [("again", "paid", "paid")]


async def test_undoing_a_deletion_enters_no_status_anew(tmp_path: Path) -> None:
    """What was done when the object entered its status is not done again because it is there again."""
    async with ActionTester.open(write(tmp_path)) as tester:
        ada = tester.user("ada")
        await ada.state.put("orders", "1", {"a": 1})
        gone = await ada.state.delete("orders", "1")
        await noted_by(tester)
        back = await ada.state.restore("orders", "1", gone - 1, expected_version=0)
        assert (back.version, back.status, back.data) == (3, "new", {"a": 1})
        assert await noted_by(tester) == []
        then = await ada.state.get("orders", "1", version=1)
        assert then is not None
        assert (then.data, await ada.state.get("orders", "1", version=2)) == ({"a": 1}, None)
        assert await ada.state.get("orders", "1", as_of=then.updated_at) is not None
        newest = await anext(ada.state.history("orders", "1", after_version=2))
        assert (newest.change, newest.restored_from) == ("created", 1)
        async with ada.state.transaction() as change:
            change.restore("orders", "1", 1)
        assert change.results[0].version == 4


async def test_an_event_that_is_delivered_again_calls_nothing_again(tmp_path: Path) -> None:
    """The event's id is the idempotency key of the call."""
    async with ActionTester.open(write(tmp_path)) as tester:
        await tester.user("ada").state.put("orders", "1", {})
        delivered: list[Event] = await tester.deliver()
        for event in delivered:
            await tester._app.hooks.deliver(event)
        assert len(await noted_by(tester)) == 2


async def test_a_refusal_of_an_action_is_a_refusal_of_its_hook(tmp_path: Path) -> None:
    """It is told as any hook's is: a dead letter on the platform, an error in the test kit. The change stands."""
    async with ActionTester.open(write(tmp_path)) as tester:
        ada = tester.user("ada")
        await ada.state.put("orders", "1", {})
        await ada.state.transition("orders", "1", "pay", {"card": "stolen"})
        with pytest.raises(StylobateError) as refused:
            await tester.deliver()
        assert refused.value.reason == "CARD_STOLEN"
        kept = await ada.state.get("orders", "1")
        assert kept is not None
        assert kept.status == "paid"


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("mill.thank", "mill.thnk", "states.yaml:8: on_enter paid: there is no action `mill.thnk`; did you mean `mill.thank`?"),
        ("do: mill.charged", "do: mill.charge", "states.yaml:6: do pay: there is no action `mill.charge`"),
        ("do: mill.charged", "do: shop.charge", "`shop.charge` must be an action of this module"),
        ("on_exit: { new:", "on_exit: { nw:", "unknown key `nw` in `on_exit` of namespace orders; did you mean `new`?"),
    ],
)
def test_an_action_that_is_not_there_is_a_finding(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    """`modules check` names the line."""
    folder = write(tmp_path, STATES.replace(right, wrong))
    assert any(said in str(finding) for finding in check_modules(str(folder), Sources({}, ()))), check_modules(
        str(folder), Sources({}, ())
    )


def test_an_action_that_may_not_be_called_again_is_a_finding(tmp_path: Path) -> None:
    """Delivery is at least once, so the action must take keys."""
    folder = write(tmp_path, actions=ACTIONS.replace("handler: thank,", "handler: thank, idempotent: false,"))
    assert load_declarations(str(folder)).namespaces["orders"].effects
    assert any("mill.thank is not idempotent" in str(finding) for finding in check_modules(str(folder), Sources({}, ())))
