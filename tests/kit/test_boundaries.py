"""Boundaries between modules: whose handlers move whose objects, by every way that leads from a module's code to an object."""

from collections.abc import AsyncIterator
from pathlib import Path
from textwrap import dedent

import pytest
import pytest_asyncio
from stylobate.declarations import load_declarations
from stylobate.declarations.model import Severity
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester

RULE = "actions or actions of till or actions of stranger"
STORE = f"""\
namespaces:
  goods:
    initial: new
    access: {{ read: {RULE}, list: {RULE}, create: {RULE}, write: {RULE}, delete: {RULE} }}
    transitions:
      sell: {{ from: new, to: sold, access: actions of till, data: [price] }}
      keep: {{ from: new, to: kept, guard: principal.module == "store" }}
"""
EACH = """\
  NAME-doors:
    initial: shut
    access: { read: public, create: public, write: public }
    transitions: { open: { from: shut, to: open, access: public } }
    on_enter: { open: NAME.opened }
    before: { created: before }
  NAME-notes:
    access: { read: public, list: public, create: public }
"""
ACTIONS = """\
actions:
  NAME.use: { handler: use, access: public, input: { type: string } }
  NAME.must: { handler: must, access: public, input: { type: string } }
  NAME.opened: { handler: opened, access: public, input: { type: object } }
"""
CODE = """
from typing import Any

from stylobate.errors import StylobateError
from stylobate.modules import ActionContext, BaseModule, Event, HookContext, on
from stylobate.strict_json import loads


class Doors(BaseModule):
    async def use(self, ctx: ActionContext, door: str) -> str:
        return await tried(ctx, door)

    async def must(self, ctx: ActionContext, door: str) -> str:
        return await through(ctx, door)

    async def opened(self, ctx: ActionContext, told: Any) -> None:
        await note(ctx, "effect", told["data"]["door"])

    async def before(self, ctx: HookContext, event: Event) -> None:
        if event.data and (door := loads(event.data)["data"].get("door")):
            await note(ctx, "before-hook", door)

    @on("state.NAME-doors.updated")
    async def after(self, ctx: HookContext, event: Event) -> None:
        await note(ctx, "hook", loads(event.data)["data"]["door"])


async def note(ctx, way: str, door: str) -> None:
    await ctx.state.put("NAME-notes", way, {"came": await tried(ctx, door)})


async def tried(ctx, door: str) -> str:
    try:
        return await through(ctx, door)
    except StylobateError as error:
        return error.reason


async def through(ctx, door: str) -> str:
    state = ctx.state
    if door == "get":
        return "OK" if await state.get("goods", "1") else "nothing"
    if door == "list":
        return "OK" if [found.key async for found in state.list("goods")] else "nothing"
    if door == "history":
        return "OK" if [entry.change async for entry in state.history("goods", "1")] else "nothing"
    if door == "watch":
        async for told in state.watch("goods"):
            return "OK" if told.objects else "nothing"
    if door == "create":
        await state.put("goods", ctx.new_id(), {}, expected_version=0)
    if door == "put":
        await state.put("goods", "1", {"by": "NAME"})
    if door == "patch":
        await state.patch("goods", "1", {"by": "NAME"})
    if door == "delete":
        await state.delete("goods", "1")
    if door in {"sell", "keep"}:
        await state.transition("goods", "1", door)
    if door == "transaction":
        async with state.transaction() as change:
            change.put("NAME-notes", "transaction", {"came": "OK"})
            change.patch("goods", "1", {"by": "NAME"})
    if door == "call":
        return await ctx.call("store.use", "patch")
    return "OK"
"""
READS, CHANGES = ("get", "list", "history", "watch"), ("create", "put", "patch", "delete", "transaction")
DOORS = (*READS, *CHANGES, "sell", "keep", "call")
FOREIGN, DENIED, GUARDED = "STATE_NAMESPACE_FOREIGN", "PERMISSION_DENIED", "STATE_GUARD_REFUSED"
COMES = {
    "store": dict.fromkeys(DOORS, "OK") | {"sell": DENIED},
    "till": dict.fromkeys(DOORS, "OK") | {"keep": GUARDED},
    "fan": dict.fromkeys(DOORS, DENIED) | {"call": "OK"},
    "stranger": dict.fromkeys(DOORS, FOREIGN) | {"call": "OK"},
}
"""What comes of each door by the module whose code goes through it: the store's own; one that depends on it and is let in; one
that depends on it and is not; one that is let in and does not depend on it. By `call` the store does it for each."""


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the modules."""
    folder = tmp_path_factory.mktemp("modules")
    for name, dependencies in {"store": "", "till": "store", "fan": "store", "stranger": "till"}.items():
        states = (STORE if name == "store" else "namespaces:\n") + EACH
        files = {
            "module.yaml": f"name: {name}\ndependencies: [{dependencies}]\n",
            "actions.yaml": ACTIONS.replace("NAME", name),
            "states.yaml": states.replace("NAME", name),
            "module.py": dedent(CODE).replace("NAME", name),
        }
        (folder / name).mkdir()
        for file, text in files.items():
            (folder / name / file).write_text(text, encoding="utf-8")
    return folder


@pytest_asyncio.fixture
async def tester(modules: Path) -> AsyncIterator[ActionTester]:
    """Give the modules, with goods at the key `1`."""
    async with ActionTester.open(modules, limits=False) as tester:
        assert await tester.user("ada").call("store.use", "put") == "OK"
        yield tester


@pytest.mark.parametrize("name", COMES)
async def test_an_action_moves_what_its_module_may(tester: ActionTester, name: str) -> None:
    """Each door tells whose code comes; the rule and the dependencies decide. A transaction is refused whole."""
    ada, came = tester.user("ada"), {}
    for door in DOORS:
        for again in ("delete", "put"):
            await ada.call("store.use", again)
        came[door] = await ada.call(f"{name}.use", door)
    assert came == COMES[name]
    noted = await ada.state.get(f"{name}-notes", "transaction")
    assert (noted is not None) == (came["transaction"] == "OK")


@pytest.mark.parametrize("way", ["before-hook", "hook", "effect"])
async def test_whatever_calls_the_code_it_is_its_modules(tester: ActionTester, way: str) -> None:
    """Before-hooks, hooks on events and effects of a status are code of their module, whoever's change set them off."""
    ada, came = tester.user("ada"), {}
    for name in COMES:
        doors = f"{name}-doors"
        await ada.state.put(doors, "1", {"door": "patch"} if way == "before-hook" else {})
        if way != "before-hook":
            await ada.state.patch(doors, "1", {"door": "patch"})
        await ada.state.transition(doors, "1", "open")
        await tester.deliver()
        noted = await ada.state.get(f"{name}-notes", way)
        came[name] = noted.data["came"] if noted is not None else "not called"
    assert came == {name: comes["patch"] for name, comes in COMES.items()}


async def test_nobody_is_a_module_by_saying_so(tester: ActionTester) -> None:
    """Who comes from outside is no module's code, whatever roles it has."""
    with pytest.raises(StylobateError) as refused:
        await tester.user("boss", "admin").state.patch("goods", "1", {"by": "boss"})
    assert refused.value.reason == DENIED


async def test_a_dependency_that_is_not_declared_is_the_modules_defect(tester: ActionTester) -> None:
    """Callers cannot do better; a rule that lets nobody of a module in is a refusal as any other."""
    with pytest.raises(StylobateError) as failed:
        await tester.user("ada").call("stranger.must", "patch")
    assert failed.value.reason == "ACTION_FAILED"
    with pytest.raises(StylobateError) as refused:
        await tester.user("ada").call("fan.must", "patch")
    assert refused.value.reason == DENIED


def test_the_check_warns_of_a_rule_without_the_dependency(modules: Path) -> None:
    """Each rule that lets the stranger in says why its handlers are refused all the same."""
    findings = load_declarations(str(modules)).findings
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    assert len(findings) == len(("read", "list", "create", "write", "delete"))
    assert all("until its module.yaml says `dependencies: [store]`" in finding.message for finding in findings)
