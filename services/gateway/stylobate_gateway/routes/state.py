"""State objects: `/v1/state`."""

import re
from datetime import UTC
from typing import Annotated, Any

import grpc.aio
import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from google.protobuf.timestamp_pb2 import Timestamp
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import NotFoundError

from stylobate_gateway.errors import InvalidHeaderError
from stylobate_gateway.routes.media_type import takes
from stylobate_gateway.schemas.common import problems
from stylobate_gateway.schemas.state import parse_patch, parse_put, parse_transition

_ETAG = re.compile(r'(?:W/)?"([1-9][0-9]{0,17})"')  # weak too: proxies that compress make it so
_PROBLEMS = problems(401, 403, 404, 409, 412, 422, 429, 503)
_JSON = [takes("application/json")]
_MERGE_PATCH = [takes("application/merge-patch+json", "application/json")]
_OBJECT = {"description": "The object", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/StateObject"}}}}

IfMatch = Annotated[str | None, Header(description='The version it must have: `"<version>"`.')]
IfNoneMatch = Annotated[str | None, Header(description="`*`: create only.")]
PageSize = Annotated[int, Query(ge=1, le=500)]
PageToken = Annotated[str, Query()]


class StateNotFoundError(NotFoundError):
    """No such object, or none that the caller may know of."""

    reason = "STATE_NOT_FOUND"
    default_detail = "There is no such state object."
    cure = "Check the namespace and the key."


def routes(channel: grpc.aio.Channel) -> APIRouter:  # noqa: C901  one short function for each route
    """Return the area's routes over the channel to state."""
    router = APIRouter(prefix="/v1/state/{namespace}", tags=["state"])
    stub = StateServiceStub(channel)

    @router.get("", responses=_PROBLEMS)
    async def list_objects(namespace: str, status: str = "", page_size: PageSize = 50, page_token: PageToken = "") -> Response:
        """List the objects that you may list, in the order of their keys."""
        request = state.ListStatesRequest(namespace=namespace, status=status, page_size=page_size, page_token=page_token)
        response = await stub.ListStates(request)
        return _page([_document(found) for found in response.states], response.next_page_token)

    @router.get("/{key}", responses={200: _OBJECT, **_PROBLEMS})
    async def get_object(namespace: str, key: str, if_none_match: IfNoneMatch = None) -> Response:
        """Read an object."""
        keys = [state.StateKey(namespace=namespace, key=key)]
        found = (await stub.GetState(state.GetStateRequest(keys=keys))).states
        if not found:
            raise StateNotFoundError(domain="stylobate.state")
        etag = f'"{found[0].version}"'
        if if_none_match is not None and (if_none_match.strip() == "*" or etag in if_none_match):
            return Response(status_code=304, headers={"etag": etag})
        return _object(found[0])

    @router.put("/{key}", responses={200: _OBJECT, **_PROBLEMS}, openapi_extra=_body("StatePut"), dependencies=_JSON)
    async def put_object(
        namespace: str, key: str, request: Request, if_match: IfMatch = None, if_none_match: IfNoneMatch = None
    ) -> Response:
        """Create an object or replace its data."""
        body = parse_put(await request.body())
        command = state.PutStateRequest(namespace=namespace, key=key, data=bytes(body.data), status=body.status)
        if (version := _expected(if_match, if_none_match)) is not None:
            command.expected_version = version
        return _object((await stub.PutState(command)).state)

    @router.patch(
        "/{key}",
        responses={200: _OBJECT, **_PROBLEMS},
        openapi_extra=_body("StatePatch", "application/merge-patch+json"),
        dependencies=_MERGE_PATCH,
    )
    async def patch_object(namespace: str, key: str, request: Request, if_match: IfMatch = None) -> Response:
        """Merge into its data (RFC 7396)."""
        command = state.PatchStateRequest(namespace=namespace, key=key, patch=parse_patch(await request.body()))
        if (version := _expected(if_match)) is not None:
            command.expected_version = version
        return _object((await stub.PatchState(command)).state)

    @router.delete("/{key}", status_code=204, responses=_PROBLEMS)
    async def delete_object(namespace: str, key: str, if_match: IfMatch = None) -> Response:
        """Delete an object; its history stays."""
        command = state.DeleteStateRequest(namespace=namespace, key=key)
        if (version := _expected(if_match)) is not None:
            command.expected_version = version
        await stub.DeleteState(command)
        return Response(status_code=204)

    @router.post(
        "/{key}/transitions/{event}",
        responses={200: _OBJECT, **_PROBLEMS},
        openapi_extra=_body("StateTransition"),
        dependencies=_JSON,
    )
    async def transition_object(namespace: str, key: str, event: str, request: Request, if_match: IfMatch = None) -> Response:
        """Fire an event of its status machine."""
        body = parse_transition(await request.body())
        command = state.TransitionStateRequest(namespace=namespace, key=key, event=event, patch=bytes(body.data))
        if (version := _expected(if_match)) is not None:
            command.expected_version = version
        return _object((await stub.TransitionState(command)).state)

    @router.get("/{key}/history", responses=_PROBLEMS)
    async def list_history(namespace: str, key: str, page_size: PageSize = 50, page_token: PageToken = "") -> Response:
        """List every version, newest first."""
        request = state.ListHistoryRequest(namespace=namespace, key=key, page_size=page_size, page_token=page_token)
        response = await stub.ListHistory(request)
        return _page([_entry(found) for found in response.entries], response.next_page_token)

    return router


def _body(schema: str, kind: str = "application/json") -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"requestBody": {"required": schema != "StateTransition", "content": {kind: {"schema": reference}}}}


def _expected(if_match: str | None, if_none_match: str | None = None) -> int | None:
    """Return the version that the request insists on; 0 for "create only"; None for any. Raises InvalidHeaderError."""
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise InvalidHeaderError("If-None-Match must be `*` here.")
        return 0
    if if_match is None:
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise InvalidHeaderError('If-Match must have the form `"<version>"`, as ETag gave it.')
    return int(found[1])


def _time(value: Timestamp) -> str:
    return value.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def _document(found: state.State) -> dict[str, Any]:
    return {
        "namespace": found.namespace,
        "key": found.key,
        "version": found.version,
        "status": found.status,
        "data": orjson.Fragment(found.data),
        "created_at": _time(found.created_at),
        "updated_at": _time(found.updated_at),
    }


def _entry(found: state.HistoryEntry) -> dict[str, Any]:
    return {
        "version": found.version,
        "change": found.change,
        "event": found.event or None,
        "from": found.from_status or None,
        "to": found.to_status or None,
        "data": orjson.Fragment(found.data) if found.data else None,
        "actor": found.actor,
        "time": _time(found.time),
        "event_id": found.event_id,
    }


def _object(found: state.State) -> Response:
    return Response(orjson.dumps(_document(found)), headers={"etag": f'"{found.version}"'}, media_type="application/json")


def _page(items: list[dict[str, Any]], token: str) -> Response:
    return Response(orjson.dumps({"items": items, "next_page_token": token or None}), media_type="application/json")
