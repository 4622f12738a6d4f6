"""The catalogue of actions and modules: `/v1/actions`, `/v1/modules`. Calls of actions are the dispatcher's."""

from typing import Any

import grpc.aio
import orjson
from fastapi import APIRouter, Response
from stylobate.api.actions.v1 import action_service_pb2 as actions
from stylobate.api.actions.v1 import module_service_pb2 as modules
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.catalogue import ActionList, ModuleList
from stylobate_gateway.schemas.common import PageSize, PageToken


def routes(channel: grpc.aio.Channel, *, is_open: bool) -> APIRouter:
    """Return the area's routes over the channel to actions.

    :param is_open: whether the catalogue of actions is shown to everyone, or needs a token.
    """
    router = area("/v1", "actions")
    security: dict[str, Any] = {"security": []} if is_open else {}
    action_stub, module_stub = ActionServiceStub(channel), ModuleServiceStub(channel)

    @router.get(
        "/actions",
        responses={200: {"description": "A page", "model": ActionList}, **refuses("Actions", 422)},
        openapi_extra=security,
    )
    async def list_actions(page_size: PageSize = 50, page_token: PageToken = "") -> Response:
        """List the actions with their JSON Schemas."""
        response = await action_stub.ListActions(actions.ListActionsRequest(page_size=page_size, page_token=page_token))
        return _json(
            {"items": [_action(found) for found in response.actions], "next_page_token": response.next_page_token or None}
        )

    @router.get("/actions/{name}", include_in_schema=False, openapi_extra=security)  # there every name has a path of its own
    async def get_action(name: str) -> Response:
        """Return one action."""
        return _json(_action((await action_stub.GetAction(actions.GetActionRequest(name=name))).action))

    @router.get("/modules", responses={200: {"description": "A page", "model": ModuleList}, **refuses("Actions", 422)})
    async def list_modules(page_size: PageSize = 50, page_token: PageToken = "") -> Response:
        """List the modules and how they are."""
        response = await module_stub.ListModules(modules.ListModulesRequest(page_size=page_size, page_token=page_token))
        return _json(
            {"items": [_module(found) for found in response.modules], "next_page_token": response.next_page_token or None}
        )

    return router


def _json(value: Any) -> Response:
    return Response(orjson.dumps(value), media_type="application/json")


def _action(found: actions.Action) -> dict[str, Any]:
    return {
        "name": found.name,
        "module": found.module,
        "summary": found.summary,
        "route": found.route or None,
        "access": found.access,
        "rate_limit": found.rate_limit or None,
        "timeout_seconds": found.timeout.seconds + found.timeout.nanos / 1e9,
        "input": orjson.Fragment(found.input_schema) if found.input_schema else None,
        "output": orjson.Fragment(found.output_schema) if found.output_schema else None,
    }


def _module(found: modules.Module) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "description": found.description,
        "status": found.status,
        "detail": found.detail or None,
        "dependencies": list(found.dependencies),
        "actions": list(found.actions),
    }
