"""Projections: objects that a method of a module makes of events."""

import asyncio
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.errors import StylobateError
from stylobate.modules.check import check_modules
from stylobate.testing.modules import ActionTester

from tests.conftest import ROOT

TALLY = ROOT / "tests" / "modules" / "tally"


async def test_objects_are_made_of_events() -> None:
    """Each event counts once; nobody else may change what they make."""
    async with ActionTester.open(TALLY) as tester:
        ada = tester.user("ada")
        for key, amount in (("1", 10), ("2", 20)):
            await ada.state.put("entries", key, {"account": "acme", "amount": amount})
        await tester.deliver()
        balance = await ada.state.get("balances", "acme")
        assert balance is not None
        assert (balance.data, balance.owner) == ({"sum": 30, "changes": 2, "entries": {"1": 10, "2": 20}}, "ada")
        await ada.state.delete("entries", "1")
        await tester.deliver()
        balance = await ada.state.get("balances", "acme")
        assert balance is not None
        assert balance.data == {"sum": 20, "changes": 3, "entries": {"2": 20}}
        assert await ada.state.get("balances", "of-1") is None
        with pytest.raises(StylobateError) as caught:
            await ada.state.put("balances", "acme", {"sum": 1_000_000})
        assert caught.value.reason == "PERMISSION_DENIED"


CHANGES = st.lists(
    st.tuples(st.sampled_from(["1", "2", "3", "4"]), st.sampled_from(["acme", "zeta"]), st.integers(-1, 9), st.booleans()),
    max_size=25,
)
"""Entry, account, amount (below 0: it is deleted), and whether everything is delivered then."""


@settings(max_examples=40)
@given(CHANGES)
def test_a_replay_gives_the_objects(changes: list[tuple[str, str, int, bool]]) -> None:
    """Whatever happens, and whenever it is heard: a projection that keeps entries comes to the entries as they stand."""

    async def play() -> None:
        async with ActionTester.open(TALLY) as tester:
            ada = tester.user("ada")
            for key, account, amount, is_heard in changes:
                if amount >= 0:
                    await ada.state.put("entries", f"{key}-{account}", {"account": account, "amount": amount})
                elif await ada.state.get("entries", f"{key}-{account}") is not None:
                    await ada.state.delete("entries", f"{key}-{account}")
                if is_heard:
                    await tester.deliver()
            await tester.deliver()
            standing = [entry async for entry in ada.state.list("entries")]
            for account in ("acme", "zeta"):
                balance = await ada.state.get("balances", account)
                kept = {one.key: one.data["amount"] for one in standing if one.data["account"] == account}
                assert (balance.data["entries"] if balance else {}) == kept

    asyncio.run(play())


def module(folder: Path, states: str, code: str = "") -> Path:
    """Write a module."""
    folder.mkdir(exist_ok=True)
    (folder / "module.yaml").write_text(f"name: {folder.name}\n")
    (folder / "states.yaml").write_text(dedent(states))
    if code:
        (folder / "module.py").write_text(dedent(code))
    return folder


CODE = """
    from stylobate.modules import BaseModule, Event, View


    class Sums(BaseModule):
        async def refuse(self, view: View, event: Event) -> None:
            await view.put("lost", {})
            raise ValueError("no")

        async def bad_data(self, view: View, event: Event) -> None:
            await view.put("x", {"n": "text"})

        async def many(self, view: View, event: Event) -> None:
            for n in range(51):
                await view.put(f"x{n}", {"n": n})

        async def odd_key(self, view: View, event: Event) -> None:
            await view.get("a/b")

        async def swapped(self, event: Event, view: View) -> None: ...
"""
STATES = """
    namespaces:
      things:
        access: { create: authenticated }
      sums:
        schema: { type: object, properties: { n: { type: integer } } }
        access: { read: public }
    projections:
      sums: { from: things, method: METHOD }
"""


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("refuse", "no"),
        ("bad_data", 'is not of type "integer"'),
        ("many", "changes 51 objects for one event; at most 50"),
        ("odd_key", "A key has no `/`"),
    ],
)
async def test_what_a_method_does_wrong_fails_the_test(tmp_path, method, said) -> None:
    """And nothing of it is kept."""
    folder = module(tmp_path / "sums", STATES.replace("METHOD", method), CODE)
    async with ActionTester.open(folder) as tester:
        await tester.user("ada").state.put("things", "1", {})
        with pytest.raises(Exception, match=said):
            await tester.deliver()
        assert await tester.anonymous.state.get_many("sums", ["lost", "x", "x1"]) == {}


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (STATES.replace("METHOD", "missing"), "projection sums: Sums has no method missing"),
        (STATES.replace("METHOD", "swapped"), "swapped must take (self, view, event): `event` gets View, not Event"),
        (STATES.replace("from: things", "from: thigs"), "no module declares the state namespace `thigs`"),
        (STATES.replace("from: things, ", ""), "`from` is missing in projection sums"),
        (STATES.replace("      sums: {", "      summs: {"), "makes the namespace `summs`, which is missing"),
        (STATES.replace("{ read: public }", "{ read: public, write: actions }"), "leave out `access: write`"),
        (STATES.replace("from: things", "from: [things, sums]"), "projection sums is made of its own events"),
        (STATES.replace("{ read: public }", "{ read: public }\n        initial: new"), "leave out `initial` and `transitions`"),
        (
            STATES.replace("{ read: public }", "{ read: public }\n        indexes: [{ fields: [n], unique: true }]"),
            "a unique index could refuse what has happened already",
        ),
        (
            STATES.replace("authenticated }", "authenticated }\n        history: 3"),
            "needs all of `things`, which by its `history`",
        ),
        (
            STATES.replace("{ read: public }", "{ read: public }\n        durability: ephemeral\n        ttl: 1h"),
            "leave out `durability`",
        ),
        (
            STATES.replace("      things:", "      things:\n        durability: ephemeral\n        ttl: 1h"),
            "nothing can follow it",
        ),
        (
            STATES.replace("        schema:", "        schema_version: 2\n        upgrade: up\n        schema:"),
            "made anew by `stylobate projections rebuild`, so leave out `upgrade`",
        ),
        (STATES.replace("method: METHOD", "method: METHOD, into: x"), "into"),
    ],
)
def test_what_is_declared_wrongly(tmp_path, states, said) -> None:
    """Each is told with its place."""
    folder = module(tmp_path / "sums", states, CODE)
    found = [str(finding) for finding in check_modules(str(folder), Sources({}, ()))]
    assert any(said in finding and "states.yaml:" in finding for finding in found), found


def test_events_of_another_module_need_a_dependency(tmp_path) -> None:
    """Whose events one builds on must be there."""
    module(tmp_path / "orders", "namespaces:\n  orders: {}\n")
    module(tmp_path / "sums", "namespaces:\n  sums: {}\nprojections:\n  sums: { from: orders, method: add }\n")
    said = [str(finding) for finding in load_declarations(str(tmp_path)).findings]
    assert any("projection sums is made of `orders` of the module orders: name it in `dependencies`" in one for one in said), said
    (tmp_path / "sums" / "module.yaml").write_text("name: sums\ndependencies: [orders]\n")
    assert not load_declarations(str(tmp_path)).findings
