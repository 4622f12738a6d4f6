"""The RPCs of the actions service: convert in, ask the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

import grpc.aio
from stylobate.api.actions.v1 import action_service_pb2 as actions_pb
from stylobate.api.actions.v1 import module_service_pb2 as modules_pb
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceServicer
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceServicer
from stylobate.identity import DEFAULT_TENANT
from stylobate.modules.binding import BoundAction
from stylobate.modules.payload import JSON
from stylobate.outbox.event import Event
from stylobate.paging import page_of
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import Call, call
from stylobate.rpc.messages import fitting
from stylobate.rpc.method import Prompt

from stylobate_actions.action_manager import ActionManager
from stylobate_actions.convert import to_action, to_left_out, to_module, to_module_refusals, to_reply
from stylobate_actions.hook_runner import HookRunner
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.upgrade_runner import Outdated, UpgradeRunner
from stylobate_actions.user_data import UserData

_SHORT = 1024 * 1024
"""Bytes of an output that surely fits into a message."""
Context = grpc.aio.ServicerContext[Any, Any]
# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class ActionServicer(ActionServiceServicer):
    """ActionService."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "ExecuteAction": RpcAccess.OPTIONAL,  # the action's own access rule decides
        "ListActions": RpcAccess.OPTIONAL,  # what OpenAPI publishes too
        "GetAction": RpcAccess.OPTIONAL,
    }

    PROMPT: ClassVar[Mapping[str, Prompt]] = {
        "ExecuteAction": lambda request: not request.idempotency_key,  # module code has a task of its own, see the runner
    }

    PLAIN: ClassVar[Mapping[str, str]] = {"ExecuteAction": "execute_plainly"}

    def __init__(self, manager: ActionManager, modules: ModuleManager) -> None:
        self._manager = manager
        self._modules = modules
        self._messages: dict[str, tuple[BoundAction, actions_pb.Action]] = {}

    async def ExecuteAction(self, request: actions_pb.ExecuteActionRequest, context: Context) -> actions_pb.ExecuteActionResponse:
        caller = call()
        reply = await self._manager.execute(
            request.action,
            request.input,
            caller,
            content_type=request.content_type,
            charged=request.charged_limit,
            key=request.idempotency_key,
        )
        return to_reply(reply)

    async def execute_plainly(
        self, caller: Call, action: str, payload: bytes, charged: str
    ) -> tuple[str, bytes] | actions_pb.ExecuteActionResponse:
        """Do the same for a call without a key whose input is JSON.

        Returns the content type and the output where nothing else is to be told.
        """
        output, limit, _ = reply = await self._manager.execute(action, payload, caller, charged=charged)
        if limit is None and len(output) <= _SHORT:
            return JSON, output
        return fitting(to_reply(reply))

    async def ListActions(self, request: actions_pb.ListActionsRequest, context: Context) -> actions_pb.ListActionsResponse:
        actions = self._manager.actions
        names, token = page_of(list(actions), "actions", request.page_size, request.page_token)
        page = actions_pb.ListActionsResponse(actions=[self._message(actions[name]) for name in names], next_page_token=token)
        if not request.page_token:
            page.left_out.extend(map(to_left_out, self._manager.left_out.values()))
            modules = self._modules.running.values()
            page.refusals.extend(to_module_refusals(module.declaration) for module in modules if not module.actions)
        return page

    def _message(self, action: BoundAction) -> actions_pb.Action:
        """Return an action's message, made once: gateways read the catalogue again and again."""
        made, message = self._messages.get(action.name, (None, None))
        if message is None or made is not action:
            message = to_action(action)
            self._messages[action.name] = action, message
        return message

    async def GetAction(self, request: actions_pb.GetActionRequest, context: Context) -> actions_pb.GetActionResponse:
        return actions_pb.GetActionResponse(action=to_action(self._manager.get(request.name)))


class ModuleServicer(ModuleServiceServicer):
    """ModuleService."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "ListModules": RpcAccess.AUTHENTICATED,
        "CallHook": RpcAccess.SERVICE,
        "UpgradeStates": RpcAccess.SERVICE,
        "ForgetUser": RpcAccess.SERVICE,
    }

    def __init__(self, manager: ModuleManager, hooks: HookRunner, upgrades: UpgradeRunner, users: UserData) -> None:
        self._manager = manager
        self._hooks = hooks
        self._upgrades = upgrades
        self._users = users

    async def ListModules(self, request: modules_pb.ListModulesRequest, context: Context) -> modules_pb.ListModulesResponse:
        names, token = page_of(self._manager.names(), "modules", request.page_size, request.page_token)
        modules = [to_module(await self._manager.status(name)) for name in names]
        return modules_pb.ListModulesResponse(modules=modules, next_page_token=token)

    async def CallHook(self, request: modules_pb.CallHookRequest, context: Context) -> modules_pb.CallHookResponse:
        data = await self._hooks.before(request.module, request.hook, Event.parse(request.event), call())
        return modules_pb.CallHookResponse(data=data)

    async def UpgradeStates(self, request: modules_pb.UpgradeStatesRequest, context: Context) -> modules_pb.UpgradeStatesResponse:
        items = [Outdated(item.data, item.from_version) for item in request.items]
        found = await self._upgrades.upgrade(request.module, request.method, items, call())
        return modules_pb.UpgradeStatesResponse(
            items=[modules_pb.UpgradedData(data=item.data, fault=item.fault) for item in found]
        )

    async def ForgetUser(self, request: modules_pb.ForgetUserRequest, context: Context) -> modules_pb.ForgetUserResponse:
        await self._users.forget(request.tenant or DEFAULT_TENANT, request.user_id, call())
        return modules_pb.ForgetUserResponse()
