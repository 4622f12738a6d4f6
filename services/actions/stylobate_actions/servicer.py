"""The RPCs of the actions service: convert in, ask the manager, convert out."""

from collections.abc import Mapping
from typing import Any, ClassVar

import grpc.aio
from stylobate.api.actions.v1 import action_service_pb2 as actions_pb
from stylobate.api.actions.v1 import module_service_pb2 as modules_pb
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceServicer
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceServicer
from stylobate.idempotency import refuse_key
from stylobate.outbox.event import Event
from stylobate.paging import page_of
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_actions.action_manager import ActionManager
from stylobate_actions.convert import to_action, to_left_out, to_module, to_reply
from stylobate_actions.hook_runner import HookRunner
from stylobate_actions.module_manager import ModuleManager

Context = grpc.aio.ServicerContext[Any, Any]
# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class ActionServicer(ActionServiceServicer):
    """ActionService."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "ExecuteAction": RpcAccess.OPTIONAL,  # the action's own access rule decides
        "ListActions": RpcAccess.OPTIONAL,  # what OpenAPI publishes too
        "GetAction": RpcAccess.OPTIONAL,
    }

    def __init__(self, manager: ActionManager) -> None:
        self._manager = manager

    async def ExecuteAction(self, request: actions_pb.ExecuteActionRequest, context: Context) -> actions_pb.ExecuteActionResponse:
        refuse_key(request)
        reply = await self._manager.execute(request.action, request.input, call(), content_type=request.content_type)
        return to_reply(reply)

    async def ListActions(self, request: actions_pb.ListActionsRequest, context: Context) -> actions_pb.ListActionsResponse:
        actions = self._manager.actions
        names, token = page_of(list(actions), "actions", request.page_size, request.page_token)
        left_out = () if request.page_token else map(to_left_out, self._manager.left_out.values())
        return actions_pb.ListActionsResponse(
            actions=[to_action(actions[name]) for name in names], next_page_token=token, left_out=left_out
        )

    async def GetAction(self, request: actions_pb.GetActionRequest, context: Context) -> actions_pb.GetActionResponse:
        return actions_pb.GetActionResponse(action=to_action(self._manager.get(request.name)))


class ModuleServicer(ModuleServiceServicer):
    """ModuleService."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"ListModules": RpcAccess.AUTHENTICATED, "CallHook": RpcAccess.SERVICE}

    def __init__(self, manager: ModuleManager, hooks: HookRunner) -> None:
        self._manager = manager
        self._hooks = hooks

    async def ListModules(self, request: modules_pb.ListModulesRequest, context: Context) -> modules_pb.ListModulesResponse:
        names, token = page_of(self._manager.names(), "modules", request.page_size, request.page_token)
        modules = [to_module(await self._manager.status(name)) for name in names]
        return modules_pb.ListModulesResponse(modules=modules, next_page_token=token)

    async def CallHook(self, request: modules_pb.CallHookRequest, context: Context) -> modules_pb.CallHookResponse:
        data = await self._hooks.before(request.module, request.hook, Event.parse(request.event), call())
        return modules_pb.CallHookResponse(data=data)
