"""Before-hooks: what they are told, what they may do, and what holds when they do not answer."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from stylobate.api.actions.v1 import module_service_pb2 as pb
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceServicer, add_ModuleServiceServicer_to_server
from stylobate.clients.state import StateVersionConflictError
from stylobate.declarations.model import BeforeHook
from stylobate.errors import PermissionDeniedError, StylobateError, UnavailableError
from stylobate.outbox import Event
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers
from stylobate.rpc.call import HOOK_DEPTH
from stylobate.rpc.interceptors import CallInterceptor
from stylobate_state.errors import (
    StateDataInvalidError,
    StateHookFailedError,
    StateHookUnavailableError,
)
from stylobate_state.hooks import BeforeHooks
from stylobate_state.operation import Delete, Patch, Put, Transition
from stylobate_state.state_manager import StateManager

from .samples import ADA, HANDLER, ORDERS

CHECK = BeforeHook(module="shop", method="check")
HOOKED = replace(ORDERS, before=dict.fromkeys(("created", "updated", "deleted", "pay"), CHECK))


@asynccontextmanager
async def managing(environment, **changes):
    """Give a manager whose every change of an order asks a hook."""
    async with StateManager.open({"orders": HOOKED}, replace(environment, **changes), max_data_bytes=1000) as manager:
        yield manager


async def test_a_hook_is_told_what_is_about_to_happen(environment, hooks, grants, clock):
    """It gets the event that the change would become, with the version that was seen and the new data."""
    grants.by_subject["ada"] = {"orders:admin"}
    async with managing(environment) as manager:
        await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1234567890123456789}'), expected=None)
        await manager.change(HANDLER, "orders", "1", Patch(b'{"total": 2}'), expected=None)
        await manager.change(ADA, "orders", "1", Transition("pay", b'{"by": "card"}'), expected=None)
        await manager.change(ADA, "orders", "1", Transition("cancel"), expected=None)  # has no hook
        await manager.change(ADA, "orders", "1", Delete(), expected=None)
    assert [event.type.rpartition(".")[2] for _, event in hooks.asked] == ["created", "updated", "transitioned", "deleted"]
    created, _, paid, _ = [event for _, event in hooks.asked]
    assert (created.subject, created.source, created.tenant, created.actor, created.time) == (
        "1",
        "state",
        "default",
        "ada",
        clock(),
    )
    assert b"1234567890123456789" in Event.parse(created.json()).data
    assert [json.loads(event.data)["version"] for _, event in hooks.asked] == [0, 1, 2, 4]
    assert json.loads(paid.data) == {
        "namespace": "orders",
        "key": "1",
        "version": 2,
        "status": "paid",
        "data": {"total": 2, "by": "card"},
        "actor": "ada",
        "event": "pay",
        "from": "pending",
        "to": "paid",
    }


async def test_a_hook_may_refuse(environment, hooks, commits):
    """Its typed error reaches the caller unchanged, and nothing is written."""

    async def refuse(_hook, _event):
        raise PermissionDeniedError("Not on Sundays.", metadata={"day": "Sunday"})

    hooks.answer = refuse
    async with managing(environment) as manager:
        with pytest.raises(PermissionDeniedError, match="Not on Sundays") as refused:
            await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
        assert refused.value.metadata == {"day": "Sunday"}
        assert await manager.get(ADA, [("orders", "1")]) == []
    assert commits == []


async def test_a_hook_may_change_the_data_within_the_schema(environment, hooks):
    """What it returns is stored instead, if it is what the namespace declares; else it is the hook that failed."""
    answers = [b'{"total": 7, "priced": true}', b'{"total": 0}', b"no json"]

    async def change(_hook, _event):
        return answers.pop(0)

    hooks.answer = change
    async with managing(environment) as manager:
        state = await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
        assert json.loads(state.data) == {"total": 7, "priced": True}
        for _ in range(2):
            with pytest.raises(StateHookFailedError) as failed:
                await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
            assert (failed.value.http_status, failed.value.violations) == (500, ())
        assert (await manager.get(ADA, [("orders", "1")])) == [state]


async def test_a_hook_is_not_asked_about_what_is_refused_anyway(environment, hooks):
    """Access, version, machine and schema come first."""
    async with managing(environment) as manager:
        with pytest.raises(PermissionDeniedError):
            await manager.change(ADA, "orders", "1", Put(b'{"total": 1}'), expected=None)
        with pytest.raises(StateVersionConflictError):
            await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=3)
        with pytest.raises(StateDataInvalidError):
            await manager.change(HANDLER, "orders", "1", Put(b"{}"), expected=None)
    assert hooks.asked == []


async def test_what_changes_while_a_hook_thinks_is_not_overwritten(environment, hooks):
    """The hook agreed to a change of the version that it saw: when that has passed it is asked again about the present."""
    async with managing(environment) as manager:
        await manager.change(HANDLER, "orders", "1", Put(b'{"total": 1}'), expected=None)
        rival = StateManager.open({"orders": ORDERS}, environment, max_data_bytes=1000)

        async def think(_hook, event):
            if json.loads(event.data)["version"] == 1:
                async with rival as other:
                    await other.change(HANDLER, "orders", "1", Patch(b'{"rival": true}'), expected=None)
            return b""

        hooks.answer = think
        hooks.asked.clear()
        state = await manager.change(HANDLER, "orders", "1", Put(b'{"total": 2}'), expected=None)
    assert state.version == 3
    assert [json.loads(event.data)["version"] for _, event in hooks.asked] == [1, 2]


class Modules(ModuleServiceServicer):
    """The actions service's side of the call."""

    def __init__(self, answer):
        self.requests = []
        self.depths = []
        self._answer = answer

    async def CallHook(self, request, context):  # noqa: N802  the generated name
        """Remember and answer."""
        self.requests.append(request)
        self.depths.append(dict(context.invocation_metadata()).get(HOOK_DEPTH))
        return await self._answer()


@asynccontextmanager
async def remote(answer, wait=timedelta(milliseconds=200)):
    """Give the hooks as they are asked through a channel, and the servicer that answers."""
    modules = Modules(answer)
    servicers = Servicers([CallInterceptor()])
    access = {
        "CallHook": RpcAccess.SERVICE,
        "UpgradeStates": RpcAccess.SERVICE,
        "ForgetUser": RpcAccess.SERVICE,
        "ListModules": RpcAccess.PUBLIC,
    }
    servicers.register(add_ModuleServiceServicer_to_server, modules, access)
    server = LocalServer(servicers)
    await server.start()
    yield BeforeHooks(CallerChannel(LocalChannel(server), None), wait), modules
    await server.stop()


EVENT = Event.new("state.orders.created", "1", {"version": 0}, source="state")


async def test_the_call_names_the_hook_and_carries_the_depth():
    """Module, method and event go over; the depth is one more than that of the change."""

    async def agree():
        return pb.CallHookResponse(data=b'{"a": 1}')

    async with remote(agree) as (hooks, modules):
        assert await hooks.ask(CHECK, EVENT, 0) == b'{"a": 1}'
        await hooks.ask(CHECK, EVENT, 2)
    assert (modules.requests[0].module, modules.requests[0].hook) == ("shop", "check")
    assert Event.parse(modules.requests[0].event) == EVENT
    assert modules.depths == ["1", "3"]


@pytest.mark.parametrize("fault", ["slow", "down"])
async def test_a_hook_that_does_not_answer_denies_unless_it_says_allow(fault):
    """Past its time, or while actions is down: 503 and nothing written by default, no hook when so declared."""

    async def not_at_all():
        if fault == "down":
            raise UnavailableError
        await asyncio.Event().wait()

    async with remote(not_at_all, wait=timedelta(milliseconds=20)) as (hooks, _):
        with pytest.raises(StateHookUnavailableError) as denied:
            await hooks.ask(CHECK, EVENT, 0)
        assert await hooks.ask(replace(CHECK, on_unavailable="allow"), EVENT, 0) == b""
    assert denied.value.metadata == {"module": "shop", "hook": "check"}
    assert (denied.value.http_status, denied.value.retry_after) == (503, timedelta(seconds=1))


async def test_allow_does_not_mean_that_refusals_are_passed_over():
    """A hook that answers with an error refuses, whatever holds for one that does not answer."""

    async def refuse():
        raise PermissionDeniedError("Not on Sundays.")

    async with remote(refuse) as (hooks, _):
        with pytest.raises(StylobateError, match="Not on Sundays") as refused:
            await hooks.ask(replace(CHECK, on_unavailable="allow"), EVENT, 0)
    assert refused.value.reason == "PERMISSION_DENIED"
