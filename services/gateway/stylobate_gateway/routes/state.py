"""State objects: `/v1/state`. Payloads pass as the bytes they came in, so that every number keeps its digits."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC
from typing import Annotated, Any

import grpc.aio
import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.clients.state import StateNotFoundError
from stylobate.errors import StylobateError

from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.routes.preconditions import FORM, Preconditions
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.common import PageSize, PageToken
from stylobate_gateway.schemas.state import (
    Event,
    History,
    Key,
    Namespace,
    StateList,
    StateObject,
    parse_put,
    parse_transition,
)

_PERHAPS: dict[str, Any] = {"security": [{"bearer": []}, {}]}
"""Some namespaces are open to everyone."""
_JSON = "application/json"
_DATA_INVALID = "STATE_DATA_INVALID"


def _header(name: str, description: str) -> Any:
    return Header(alias=name, description=description, json_schema_extra=FORM)


_Tags = str | SkipJsonSchema[None]
Match = Annotated[_Tags, _header("If-Match", '`"<version>"`, one of several, or `*`: else 412.')]
NotHad = Annotated[_Tags, _header("If-None-Match", '`"<version>"` at hand, or several: 304 where it is the present one.')]
NotThere = Annotated[_Tags, _header("If-None-Match", '`*`: it must not exist yet; `"<version>"`: it must not have that.')]


async def _read_if(request: Request, if_match: Match = None, if_none_match: NotHad = None) -> Preconditions:
    del if_match, if_none_match  # for the document: a header may come in several lines
    return Preconditions.of(request)


async def _write_if(request: Request, if_match: Match = None, if_none_match: NotThere = None) -> Preconditions:
    del if_match, if_none_match
    return Preconditions.of(request)


ReadIf = Annotated[Preconditions, Depends(_read_if)]
WriteIf = Annotated[Preconditions, Depends(_write_if)]
Status = Annotated[str, Query(max_length=128, description="Only objects in this status.")]


def routes(channel: grpc.aio.Channel) -> APIRouter:  # noqa: C901, PLR0915  one short function for each route
    """Return the area's routes over the channel to state."""
    router = area("/v1/state/{namespace}", "state")
    stub = StateServiceStub(channel)
    read = refuses("State", 403, 404, 422)
    got: Responses = {
        200: _answer("The object", StateObject),
        304: {"description": "Unchanged"},
        **refuses("State", 403, 404, 412, 422),
    }
    changed: Responses = {200: _answer("The object", StateObject), **refuses("State", 403, 404, 409, 412, has_body=True)}

    @router.get("", responses={200: _answer("A page", StateList), **read}, openapi_extra=_PERHAPS)
    async def list_objects(
        namespace: Namespace, status: Status = "", page_size: PageSize = 50, page_token: PageToken = ""
    ) -> Response:
        """List the objects that you may list, in the order of their keys."""
        request = state.ListStatesRequest(namespace=namespace, status=status, page_size=page_size, page_token=page_token)
        response = await stub.ListStates(request)
        return _page([_document(found) for found in response.states], response.next_page_token)

    async def find(namespace: str, key: str) -> state.State | None:
        request = state.GetStateRequest(keys=[state.StateKey(namespace=namespace, key=key)])
        try:
            return next(iter((await stub.GetState(request)).states), None)
        except StylobateError as error:  # it stands in the path, not in a list
            _place(error, lambda pointer: pointer.removeprefix("/keys/0"))
            raise

    async def present(namespace: str, key: str) -> state.State:
        found = await find(namespace, key)
        if found is None:
            raise StateNotFoundError(namespace, key)
        return found

    @router.get("/{key}", responses=got, openapi_extra=_PERHAPS)
    async def get_object(namespace: Namespace, key: Key, given: ReadIf) -> Response:
        """Read an object."""
        found = await present(namespace, key)
        if given.is_unchanged(found.version):
            return Response(status_code=304, headers={"etag": f'"{found.version}"'})
        return _object(found)

    @router.put("/{key}", responses=changed, openapi_extra=_body("StatePut"))
    async def put_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Create an object or replace its data."""
        body = parse_put(await request.body())

        async def put(version: int | None) -> state.State:
            data = bytes(body.data)
            command = state.PutStateRequest(namespace=namespace, key=key, data=data, status=body.status, expected_version=version)
            try:
                return (await stub.PutState(command)).state
            except StylobateError as error:
                _place_in_body(error)
                raise

        return _object(await given.guard(put, find))

    @router.patch("/{key}", responses=changed, openapi_extra=_body("StatePatch", "application/merge-patch+json", _JSON))
    async def patch_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Merge into the data of an object (RFC 7396)."""
        merged = await request.body()

        async def patch(version: int | None) -> state.State:
            command = state.PatchStateRequest(namespace=namespace, key=key, patch=merged, expected_version=version)
            return (await stub.PatchState(command)).state

        return _object(await given.guard(patch, present))

    @router.delete("/{key}", status_code=204, responses=refuses("State", 403, 404, 409, 412, 422), openapi_extra=_PERHAPS)
    async def delete_object(namespace: Namespace, key: Key, given: WriteIf) -> Response:
        """Delete an object; its history stays."""

        async def delete(version: int | None) -> None:
            await stub.DeleteState(state.DeleteStateRequest(namespace=namespace, key=key, expected_version=version))

        await given.guard(delete, present)
        return Response(status_code=204)

    @router.post("/{key}/transitions/{event}", responses=changed, openapi_extra=_body("StateTransition"))
    async def transition_object(namespace: Namespace, key: Key, event: Event, request: Request, given: WriteIf) -> Response:
        """Fire an event of an object's status machine."""
        body = parse_transition(await request.body())

        async def fire(version: int | None) -> state.State:
            command = state.TransitionStateRequest(
                namespace=namespace, key=key, event=event, patch=bytes(body.data), expected_version=version
            )
            try:
                return (await stub.TransitionState(command)).state
            except StylobateError as error:
                _place_in_body(error)
                raise

        return _object(await given.guard(fire, present))

    @router.get("/{key}/history", responses={200: _answer("A page", History), **read}, openapi_extra=_PERHAPS)
    async def list_history(namespace: Namespace, key: Key, page_size: PageSize = 50, page_token: PageToken = "") -> Response:
        """List every version of an object, newest first."""
        request = state.ListHistoryRequest(namespace=namespace, key=key, page_size=page_size, page_token=page_token)
        response = await stub.ListHistory(request)
        return _page([_version(found) for found in response.entries], response.next_page_token)

    return router


def _answer(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "model": model}


def _body(schema: str, *kinds: str) -> dict[str, Any]:
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for kind in kinds or (_JSON,)}
    return {"requestBody": {"required": schema != "StateTransition", "content": content}, **_PERHAPS}


def _place(error: StylobateError, place: Callable[[str], str]) -> None:
    """Name the places that the state service found wrong as the caller wrote them."""
    error.violations = tuple(replace(found, pointer=place(found.pointer)) for found in error.violations)


def _place_in_body(error: StylobateError) -> None:
    """Name a place in an object's data as one in the body, whose member ``data`` it was."""
    if error.reason == _DATA_INVALID:
        _place(error, lambda pointer: f"/data{pointer}")


def _time(value: Timestamp) -> str:
    return value.ToDatetime(tzinfo=UTC).isoformat().replace("+00:00", "Z")


def _document(found: state.State) -> dict[str, Any]:
    """Return the object's document."""
    return {
        "namespace": found.namespace,
        "key": found.key,
        "version": found.version,
        "status": found.status,
        "data": orjson.Fragment(found.data),
        "created_at": _time(found.created_at),
        "updated_at": _time(found.updated_at),
    }


def _version(found: state.HistoryEntry) -> dict[str, Any]:
    """Return the document of one version."""
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
    """Return the answer that an object is."""
    return Response(orjson.dumps(_document(found)), headers={"etag": f'"{found.version}"'}, media_type=_JSON)


def _page(items: list[dict[str, Any]], token: str) -> Response:
    """Return the answer that a page is."""
    return Response(orjson.dumps({"items": items, "next_page_token": token or None}), media_type=_JSON)
