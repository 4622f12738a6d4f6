"""State objects: `/v1/state`."""

from typing import Annotated, Any

import grpc
import grpc.aio
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import StylobateError

from stylobate_gateway.document.problems import Responses, refuses
from stylobate_gateway.routes.media_type import takes
from stylobate_gateway.routes.places import as_asked, as_sent
from stylobate_gateway.routes.preconditions import FORM, Preconditions
from stylobate_gateway.routes.state_answers import etag_of, history_document, object_answer, object_document, page_answer
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

_JSON = [takes("application/json")]
_PERHAPS_JSON = [takes("application/json", is_needed=False)]
_MERGE_PATCH = [takes("application/merge-patch+json", "application/json")]
_PERHAPS: dict[str, Any] = {"security": [{"bearer": []}, {}]}
"""Some namespaces are open to everyone."""


def _header(name: str, description: str) -> Any:
    return Header(alias=name, description=description, json_schema_extra=FORM)


_Tags = str | SkipJsonSchema[None]
Match = Annotated[_Tags, _header("If-Match", '`"<version>"`, one of several, or `*`: else 412.')]
NotHad = Annotated[_Tags, _header("If-None-Match", '`"<version>"` at hand, or several: 304 where it is the present one.')]
NotThere = Annotated[_Tags, _header("If-None-Match", '`*`: it must not exist yet; `"<version>"`: it must not have that.')]


async def _read_if(request: Request, if_match: Match = None, if_none_match: NotHad = None) -> Preconditions:
    del if_match, if_none_match  # for the document: a header may come in several lines
    return Preconditions.of(request.headers)


async def _write_if(request: Request, if_match: Match = None, if_none_match: NotThere = None) -> Preconditions:
    del if_match, if_none_match
    return Preconditions.of(request.headers)


ReadIf = Annotated[Preconditions, Depends(_read_if)]
WriteIf = Annotated[Preconditions, Depends(_write_if)]
Status = Annotated[str, Query(max_length=128, description="Only objects in this status.")]


def routes(channel: grpc.aio.Channel) -> APIRouter:  # noqa: C901, PLR0915  one short function for each route
    """Return the area's routes over the channel to state."""
    router = APIRouter(prefix="/v1/state/{namespace}", tags=["state"])
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
        return page_answer([object_document(found) for found in response.states], response.next_page_token)

    async def find(namespace: str, key: str) -> state.State | None:
        request = state.GetStateRequest(keys=[state.StateKey(namespace=namespace, key=key)])
        with as_asked():
            return next(iter((await stub.GetState(request)).states), None)

    async def present(namespace: str, key: str) -> state.State:
        found = await find(namespace, key)
        if found is None:
            raise _not_found()
        return found

    async def version_of(namespace: str, key: str) -> int:
        return (await present(namespace, key)).version

    @router.get("/{key}", responses=got, openapi_extra=_PERHAPS)
    async def get_object(namespace: Namespace, key: Key, given: ReadIf) -> Response:
        """Read an object."""
        found = await present(namespace, key)
        given.check(found.version)
        if given.is_unchanged(found.version):
            return Response(status_code=304, headers={"etag": etag_of(found)})
        return object_answer(found)

    @router.put("/{key}", responses=changed, openapi_extra=_body("StatePut"), dependencies=_JSON)
    async def put_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Create an object or replace its data."""
        body = parse_put(await request.body())

        async def put(version: int | None) -> state.State:
            data = bytes(body.data)
            command = state.PutStateRequest(namespace=namespace, key=key, data=data, status=body.status, expected_version=version)
            with as_sent():
                return (await stub.PutState(command)).state

        async def version() -> int:
            found = await find(namespace, key)
            return found.version if found is not None else 0

        return object_answer(await given.guard(put, version))

    @router.patch(
        "/{key}",
        responses=changed,
        openapi_extra=_body("StatePatch", "application/merge-patch+json", "application/json"),
        dependencies=_MERGE_PATCH,
    )
    async def patch_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Merge into the data of an object (RFC 7396)."""
        merged = await request.body()

        async def patch(version: int | None) -> state.State:
            command = state.PatchStateRequest(namespace=namespace, key=key, patch=merged, expected_version=version)
            return (await stub.PatchState(command)).state

        return object_answer(await given.guard(patch, lambda: version_of(namespace, key)))

    @router.delete("/{key}", status_code=204, responses=refuses("State", 403, 404, 409, 412, 422), openapi_extra=_PERHAPS)
    async def delete_object(namespace: Namespace, key: Key, given: WriteIf) -> Response:
        """Delete an object; its history stays."""

        async def delete(version: int | None) -> None:
            await stub.DeleteState(state.DeleteStateRequest(namespace=namespace, key=key, expected_version=version))

        await given.guard(delete, lambda: version_of(namespace, key))
        return Response(status_code=204)

    @router.post(
        "/{key}/transitions/{event}", responses=changed, openapi_extra=_body("StateTransition"), dependencies=_PERHAPS_JSON
    )
    async def transition_object(namespace: Namespace, key: Key, event: Event, request: Request, given: WriteIf) -> Response:
        """Fire an event of an object's status machine."""
        body = parse_transition(await request.body())

        async def fire(version: int | None) -> state.State:
            command = state.TransitionStateRequest(
                namespace=namespace, key=key, event=event, patch=bytes(body.data), expected_version=version
            )
            with as_sent():
                return (await stub.TransitionState(command)).state

        return object_answer(await given.guard(fire, lambda: version_of(namespace, key)))

    @router.get("/{key}/history", responses={200: _answer("A page", History), **read}, openapi_extra=_PERHAPS)
    async def list_history(namespace: Namespace, key: Key, page_size: PageSize = 50, page_token: PageToken = "") -> Response:
        """List every version of an object, newest first."""
        request = state.ListHistoryRequest(namespace=namespace, key=key, page_size=page_size, page_token=page_token)
        response = await stub.ListHistory(request)
        return page_answer([history_document(found) for found in response.entries], response.next_page_token)

    return router


def _answer(description: str, model: type[BaseModel]) -> dict[str, Any]:
    return {"description": description, "model": model}


def _body(schema: str, *kinds: str) -> dict[str, Any]:
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for kind in kinds or ("application/json",)}
    return {"requestBody": {"required": schema != "StateTransition", "content": content}, **_PERHAPS}


def _not_found() -> StylobateError:
    """Return what the state service says of an object that is not there, or that the caller may not know of."""
    code, detail = grpc.StatusCode.NOT_FOUND, "There is no such state object."
    return StylobateError.of(code=code, reason="STATE_NOT_FOUND", detail=detail, domain="stylobate.state")
