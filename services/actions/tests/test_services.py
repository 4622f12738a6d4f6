"""The service behind its RPCs, over the real pipeline, with the real state service in memory."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio
from stylobate.api.actions.v1 import action_service_pb2 as actions_pb
from stylobate.api.actions.v1 import module_service_pb2 as modules_pb
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.app.memory_app import MemoryApp
from stylobate.errors import StylobateError
from stylobate.outbox.event import Event
from stylobate.rpc.call import HOOK_DEPTH
from stylobate.testing.modules import ActionTester

from .conftest import WriteModule

ACTIONS = """
    actions:
      notes.add: { handler: add, access: authenticated, rate_limit: 9/minute, timeout: 2s, route: POST /notes, summary: Add it }
      notes.get: { handler: get, access: authenticated }
      notes.walk: { handler: walk, access: authenticated }
"""
REALTIME = """
    namespaces:
      "": { access: { subscribe: authenticated } }
"""
STATES = """
    namespaces:
      notes:
        access: { create: actions, read: owner, list: owner, write: owner, delete: owner }
        schema_version: 3
        upgrade: to_tags
        before: { created: look, updated: look }
      log:
        access: { create: actions, read: authenticated }
"""
CODE = """
    from typing import Any
    from stylobate.modules import ActionContext, BaseModule, Event, HookContext, NotFoundError, on

    class Notes(BaseModule):
        async def add(self, ctx: ActionContext, note: dict[str, Any]) -> Any:
            return (await ctx.state.put("notes", note["id"], note, expected_version=0)).data

        async def get(self, ctx: ActionContext, id: str) -> Any:
            note = await ctx.state.get("notes", id)
            if note is None:
                raise NotFoundError(f"There is no note {id}.")
            return {"data": note.data, "version": note.version, "owner": note.owner}

        async def walk(self, ctx: ActionContext) -> Any:
            keys = [note.key async for note in ctx.state.list("notes")]
            await ctx.state.patch("notes", keys[0], {"text": "patched"})
            version = await ctx.state.delete("notes", keys[0])
            changes = [(change.version, change.change, change.actor) async for change in ctx.state.history("notes", keys[0])]
            first = [change async for change in ctx.state.history("notes", keys[0], before_version=version, change="created")]
            since = [change.version async for change in ctx.state.history("notes", keys[0], since=first[0].time, actor="nobody")]
            return {"keys": keys, "version": version, "changes": changes, "first": [one.version for one in first], "since": since}

        async def look(self, ctx: HookContext, event: Event) -> Any:
            data = event.value()["data"]
            match data.get("text"):
                case "spam":
                    ctx.refuse("NO_SPAM", "Not here.", words=1)
                case "crash":
                    raise ValueError("secret")
                case "junk":
                    return [1]
                case "who":
                    return data | {"text": f"{ctx.principal.id} for {ctx.principal.subject}"}
                case "odd":
                    return data | {"text": "even"}
            return None

        def to_tags(self, data: Any, from_version: int) -> Any:
            if data["text"] == "none":
                return None
            if data["text"] == "exit":
                raise SystemExit(3)
            return data | {"tags": [from_version, 1 / data["words"]]}

        async def not_a_hook(self, ctx: HookContext, event: Event) -> None: ...

        @on("state.notes.created")
        async def keep_log(self, ctx: HookContext, event: Event) -> None:
            await ctx.state.put("log", event.id, {"seen": event.subject, "as": ctx.principal.subject}, expected_version=0)
            await ctx.publish("notes", {"seen": event.subject})
"""


@pytest_asyncio.fixture
async def tester(write_module: WriteModule) -> AsyncIterator[ActionTester]:
    """Serve the notes module."""
    modules = write_module("notes", CODE, actions=ACTIONS, states=STATES, realtime=REALTIME)
    async with ActionTester.open(modules, limits=False) as opened:
        yield opened


def app_of(tester: ActionTester) -> MemoryApp:
    """Return what the services were built into."""
    return tester._app


def actions(tester: ActionTester) -> Any:
    """Return the stub of somebody outside without a token."""
    return ActionServiceStub(app_of(tester).channel_of(""))


def modules_for_services(tester: ActionTester) -> Any:
    """Return the stub as the state service holds it."""
    return ModuleServiceStub(app_of(tester).channel("actions"))


async def test_an_actions_rule_decides_who_may_call_it(write_module: WriteModule) -> None:
    """Whose role has the permission runs it; of the others one is told which, and nobody at all is asked to log in."""
    module = """
        name: desk
        version: "1.0.0"
        permissions: { "desk:open": Open it }
        roles: { clerk: ["desk:open"] }
    """
    code = """
        from stylobate.modules import ActionContext, BaseModule

        class Desk(BaseModule):
            async def open(self, ctx: ActionContext) -> str:
                return ctx.principal.subject
    """
    rule = 'actions: { desk.open: { handler: open, access: "desk:open" } }'
    async with ActionTester.open(write_module("desk", code, module=module, actions=rule), limits=False) as tester:
        assert await tester.user("ann", "clerk").call("desk.open") == "ann"
        with pytest.raises(StylobateError) as denied:
            await tester.user("bob").call("desk.open")
        assert (denied.value.reason, denied.value.metadata) == ("PERMISSION_DENIED", {"permission": "desk:open"})
        with pytest.raises(StylobateError) as unknown:
            await actions(tester).ExecuteAction(actions_pb.ExecuteActionRequest(action="desk.open"))
        assert unknown.value.reason == "UNAUTHENTICATED"


async def test_a_handler_asks_what_its_caller_may(write_module: WriteModule) -> None:
    """A role's permission counts, nobody known has none, and one that nobody declares is a defect and no refusal."""
    module = """
        name: desk
        version: "1.0.0"
        permissions: { "desk:open": Open it }
        roles: { clerk: ["desk:*"] }
    """
    code = """
        from stylobate.modules import ActionContext, BaseModule

        class Desk(BaseModule):
            async def look(self, ctx: ActionContext, permission: str) -> bool:
                return await ctx.may(permission)

            async def may(self, ctx: ActionContext, what: dict[str, str]) -> bool:
                return await ctx.may("desk:open", what["resource"])

            async def all(self, ctx: ActionContext, under: str) -> list[str]:
                return [*await ctx.grants("desk:open", under)]
    """
    names = ("look", "may", "all")
    rule = f"actions: {{ {', '.join(f'desk.{name}: {{ handler: {name}, access: public }}' for name in names)} }}"
    async with ActionTester.open(write_module("desk", code, module=module, actions=rule), limits=False) as tester:
        clerk, person = tester.user("ann", "clerk"), tester.user("bob")
        assert [await who.call("desk.look", "desk:open") for who in (clerk, person, tester.anonymous)] == [True, False, False]
        assert await tester.user("root", "admin").call("desk.look", "users:read")
        assert not await clerk.call("desk.look", "users:read")
        with pytest.raises(StylobateError) as unknown:
            await clerk.call("desk.look", "desk:opne")
        assert unknown.value.reason == "ACTION_FAILED"
        for resource in ("desks/1", "desks/a/2", "state/desks/3"):
            person.grant("desk:open", resource)
        asked = ("desks/1", "desks/a/", "desks/a/2", "state/desks/4")
        assert [await person.call("desk.may", {"resource": one}) for one in asked] == [True, False, True, False]
        assert await clerk.call("desk.may", {"resource": "desks/7"})
        assert await person.call("desk.all", "desks/") == ["desks/1", "desks/a/2"]
        assert [await who.call("desk.all", "") for who in (clerk, tester.anonymous)] == [[], []]
        with pytest.raises(StylobateError) as unknown:
            await person.call("desk.may", {"resource": "one"})
        assert unknown.value.reason == "ACTION_FAILED"


async def test_an_action_uses_state_in_its_callers_name(tester: ActionTester) -> None:
    """What a handler creates belongs to its caller, and nobody else reads it."""
    alice, bob = tester.user("alice"), tester.user("bob")
    assert await alice.call("notes.add", {"id": "1", "text": "hi"}) == {"id": "1", "text": "hi"}
    assert await alice.call("notes.get", "1") == {"data": {"id": "1", "text": "hi"}, "version": 1, "owner": "alice"}
    for user, action, value, reason in (
        (bob, "notes.get", "1", "NOT_FOUND"),
        (bob, "notes.get", "2", "NOT_FOUND"),
        (alice, "notes.add", {"id": "1"}, "STATE_VERSION_CONFLICT"),
    ):
        with pytest.raises(StylobateError) as refused:
            await user.call(action, value)
        assert refused.value.reason == reason


async def test_lists_and_history_are_walked_page_by_page(tester: ActionTester) -> None:
    """More objects than fit a page come out in the order of their keys, and a deletion ends a history."""
    alice = tester.user("alice")
    for number in range(205):
        await alice.call("notes.add", {"id": f"{number:03}"})
    walked = await alice.call("notes.walk")
    assert walked["keys"] == [f"{number:03}" for number in range(205)]
    assert walked["version"] == 3
    assert walked["changes"] == [[3, "deleted", "alice"], [2, "updated", "alice"], [1, "created", "alice"]]
    assert (walked["first"], walked["since"]) == ([1], [])


async def test_a_before_hook_changes_or_refuses(tester: ActionTester) -> None:
    """Its answer is what is kept; its refusal is what the caller sees, metadata included; it acts for the caller."""
    alice = tester.user("alice")
    assert (await alice.call("notes.add", {"id": "1", "text": "odd"}))["text"] == "even"
    assert (await alice.call("notes.add", {"id": "2", "text": "who"}))["text"] == "service:actions for alice"
    with pytest.raises(StylobateError) as refused:
        await alice.call("notes.add", {"id": "3", "text": "spam"})
    assert (refused.value.reason, refused.value.http_status, refused.value.metadata["words"]) == ("NO_SPAM", 409, "1")


@pytest.mark.parametrize("text", ["crash", "junk"])
async def test_a_before_hook_that_fails_refuses_without_its_text(tester: ActionTester, text: str) -> None:
    """A defect in a hook lets nothing through and tells nothing."""
    alice = tester.user("alice")
    with pytest.raises(StylobateError) as refused:
        await alice.call("notes.add", {"id": "1", "text": text})
    assert refused.value.reason == "HOOK_FAILED"
    assert "secret" not in refused.value.detail
    assert await alice.state.get("notes", "1") is None


async def test_a_hook_acts_for_whoever_caused_the_event(tester: ActionTester) -> None:
    """The hook's own writes and publications happen after the event, with the rights of its actor."""
    alice = tester.user("alice")
    await alice.call("notes.add", {"id": "1"})
    created, logged = await tester.deliver()
    assert (created.type, logged.type, logged.actor) == ("state.notes.created", "state.log.created", "alice")
    assert tester.published == [("notes", {"seen": "1"})]
    log = await alice.state.get("log", created.id)
    assert log is not None
    assert log.data == {"seen": "1", "as": "alice"}


async def test_only_declared_before_hooks_are_run(tester: ActionTester) -> None:
    """No other method of a module can be called by name, and no module that is not there."""
    event = Event.new("state.notes.created", "1", {"data": {}}, source="state").json()
    for module, hook in (("notes", "not_a_hook"), ("notes", "add"), ("notes", "__init__"), ("other", "look")):
        with pytest.raises(StylobateError) as refused:
            await modules_for_services(tester).CallHook(modules_pb.CallHookRequest(module=module, hook=hook, event=event))
        assert refused.value.reason == "HOOK_NOT_FOUND"


async def test_call_hook_is_for_services(tester: ActionTester) -> None:
    """A user's token does not open it, and hooks that set each other off end."""
    request = modules_pb.CallHookRequest(
        module="notes", hook="look", event=Event.new("t.x", "1", {"data": {"text": "odd"}}, source="state").json()
    )
    tester.user("alice")
    with pytest.raises(StylobateError) as refused:
        await ModuleServiceStub(app_of(tester).channel_of("alice")).CallHook(request)
    assert refused.value.reason == "PERMISSION_DENIED"
    assert orjson.loads((await modules_for_services(tester).CallHook(request)).data) == {"text": "even"}
    with pytest.raises(StylobateError) as refused:
        await modules_for_services(tester).CallHook(request, metadata=((HOOK_DEPTH, "9"),))
    assert refused.value.reason == "HOOK_RECURSION"


async def test_upgrades_succeed_or_fail_one_by_one(tester: ActionTester) -> None:
    """Each piece of data is upgraded by itself; what the method raises, or does not return, is said of that one alone."""
    items = [
        modules_pb.OutdatedData(data=orjson.dumps({"text": text, "words": words}), from_version=version)
        for text, words, version in (("a", 2, 1), ("none", 1, 1), ("b", 0, 2), ("exit", 1, 2), ("c", 4, 2))
    ]
    request = modules_pb.UpgradeStatesRequest(module="notes", method="to_tags", items=items)
    found = (await modules_for_services(tester).UpgradeStates(request)).items
    assert [orjson.loads(item.data)["tags"] for item in (found[0], found[4])] == [[1, 0.5], [2, 0.25]]
    faults = ["", "notes.to_tags returned nothing", "ZeroDivisionError: division by zero", "SystemExit: 3", ""]
    assert [item.fault for item in found] == faults
    assert [bool(item.data) for item in found] == [True, False, False, False, True]


async def test_only_declared_upgrades_are_run_and_only_for_services(tester: ActionTester) -> None:
    """No other method is called by name, none for a user, and not more at once than a page has."""
    for method in ("look", "add", "not_a_hook"):
        with pytest.raises(StylobateError) as refused:
            await modules_for_services(tester).UpgradeStates(modules_pb.UpgradeStatesRequest(module="notes", method=method))
        assert refused.value.reason == "HOOK_NOT_FOUND"
    tester.user("alice")
    with pytest.raises(StylobateError) as refused:
        await ModuleServiceStub(app_of(tester).channel_of("alice")).UpgradeStates(
            modules_pb.UpgradeStatesRequest(module="notes", method="to_tags")
        )
    assert refused.value.reason == "PERMISSION_DENIED"
    request = modules_pb.UpgradeStatesRequest(module="notes", method="to_tags", items=[modules_pb.OutdatedData()] * 501)
    with pytest.raises(StylobateError) as refused:
        await modules_for_services(tester).UpgradeStates(request)
    assert refused.value.reason == "INVALID_INPUT"


async def test_the_catalogue_tells_everything_about_an_action(tester: ActionTester) -> None:
    """One entry holds what a client or OpenAPI needs."""
    action = (await actions(tester).GetAction(actions_pb.GetActionRequest(name="notes.add"))).action
    assert (action.module, action.summary, action.route) == ("notes", "Add it", "POST /notes")
    assert (action.access, action.rate_limit, action.timeout.seconds) == ("authenticated", "9/minute", 2)
    assert orjson.loads((await actions(tester).GetAction(actions_pb.GetActionRequest(name="notes.get"))).action.input_schema) == {
        "type": "string"
    }
    with pytest.raises(StylobateError) as refused:
        await actions(tester).GetAction(actions_pb.GetActionRequest(name="notes"))
    assert refused.value.reason == "ACTION_NOT_FOUND"


async def test_the_catalogue_comes_in_pages(tester: ActionTester) -> None:
    """Every action once, in the order of the names; a token of our making only."""
    stub, names, token = actions(tester), [], ""
    while True:
        page = await stub.ListActions(actions_pb.ListActionsRequest(page_size=2, page_token=token))
        names += [action.name for action in page.actions]
        token = page.next_page_token
        if not token:
            break
    assert names == ["notes.add", "notes.get", "notes.walk"]


@pytest.mark.parametrize(
    "asked", [{"page_size": -1}, {"page_size": -(2**31)}, *({"page_token": token} for token in ("?", "bm90ZXMuYWRk", "W10", "ü"))]
)
@pytest.mark.parametrize("name", ["actions", "modules"])
async def test_a_page_that_nobody_gave_is_refused(tester: ActionTester, name: str, asked: dict[str, Any]) -> None:
    """A size below none and a token of another making, or of another list, are findings, in each of the lists."""
    tester.user("alice")
    channel = app_of(tester).channel_of("alice")
    lists = {
        "actions": lambda: actions(tester).ListActions(actions_pb.ListActionsRequest(**asked)),
        "modules": lambda: ModuleServiceStub(channel).ListModules(modules_pb.ListModulesRequest(**asked)),
    }
    with pytest.raises(StylobateError) as refused:
        await lists[name]()
    assert (refused.value.reason, [found.pointer for found in refused.value.violations]) == (
        "INVALID_INPUT",
        [f"/{next(iter(asked))}"],
    )


async def test_a_token_of_one_list_is_none_of_another(tester: ActionTester) -> None:
    """What goes on in the one would begin somewhere in the other."""
    tester.user("alice")
    token = (await actions(tester).ListActions(actions_pb.ListActionsRequest(page_size=1))).next_page_token
    with pytest.raises(StylobateError) as refused:
        await ModuleServiceStub(app_of(tester).channel_of("alice")).ListModules(modules_pb.ListModulesRequest(page_token=token))
    assert refused.value.reason == "INVALID_INPUT"


async def test_modules_are_listed_for_those_who_are_known(tester: ActionTester) -> None:
    """Name, version, status and actions; not for strangers."""
    tester.user("alice")
    stub = ModuleServiceStub(app_of(tester).channel_of("alice"))
    (module,) = (await stub.ListModules(modules_pb.ListModulesRequest())).modules
    assert (module.name, module.version, module.status) == ("notes", "1.0.0", "healthy")
    assert list(module.actions) == ["notes.add", "notes.get", "notes.walk"]
    with pytest.raises(StylobateError) as refused:
        await ModuleServiceStub(app_of(tester).channel_of("")).ListModules(modules_pb.ListModulesRequest())
    assert refused.value.reason == "UNAUTHENTICATED"
