"""State objects: `/v1/state`. Payloads pass as the bytes they came in, so that every number keeps its digits."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import grpc.aio
import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from pydantic import BaseModel, BeforeValidator
from pydantic.json_schema import SkipJsonSchema
from starlette.convertors import StringConvertor, register_url_convertor
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import StylobateError

from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.filters import MOST_COUNTED, read_filters
from stylobate_gateway.routes.preconditions import FORM, Preconditions
from stylobate_gateway.routes.route import area
from stylobate_gateway.routes.watch import watch_routes
from stylobate_gateway.schemas.common import TEXT, PageSize, PageToken, in_digits
from stylobate_gateway.schemas.state import (
    ChangeName,
    Event,
    History,
    Key,
    Namespace,
    StateList,
    StateObject,
    parse_owner,
    parse_put,
    parse_restore,
    parse_transition,
)
from stylobate_gateway.state_documents import memento_headers, object_document, version_document
from stylobate_gateway.state_reads import StateReads, place
from stylobate_gateway.watches import StateWatches

_PERHAPS: dict[str, Any] = {"security": [{"bearer": []}, {"apiKey": []}, {}]}
"""Some namespaces are open to everyone."""
JSON = "application/json"
DATA_INVALID = "STATE_DATA_INVALID"


def _header(name: str, description: str) -> Any:
    return Header(alias=name, description=description, json_schema_extra=FORM)


_Text = str | SkipJsonSchema[None]
Match = Annotated[_Text, _header("If-Match", '`"<version>"`, one of several, or `*`: else 412.')]
NotHad = Annotated[_Text, _header("If-None-Match", '`"<version>"` at hand, or several: 304 where it is the present one.')]
NotThere = Annotated[_Text, _header("If-None-Match", '`*`: it must not exist yet; `"<version>"`: it must not have that.')]


async def _read_if(request: Request, if_match: Match = None, if_none_match: NotHad = None) -> Preconditions:
    del if_match, if_none_match  # for the document: a header may come in several lines
    return _preconditions(request)


async def _write_if(request: Request, _: Changing, if_match: Match = None, if_none_match: NotThere = None) -> Preconditions:
    del if_match, if_none_match
    return _preconditions(request)


def _preconditions(request: Request) -> Preconditions:
    named = request.path_params
    return Preconditions.of(request.scope["stylobate"], named["namespace"], named["key"])


class _NamespaceConvertor(StringConvertor):
    """A part of a path that may be the name of a namespace."""

    regex = "(?!transactions$)[^/]+"


register_url_convertor("namespace", _NamespaceConvertor())
ReadIf = Annotated[Preconditions, Depends(_read_if)]
WriteIf = Annotated[Preconditions, Depends(_write_if)]
Status = Annotated[str, Query(max_length=128, description="Only objects in this status, by key.")]
Sort = Annotated[str, Query(max_length=256, description="A field of an index, `-` before it for the highest first.")]
_MOST = 2**63 - 1
Above = Annotated[int, Query(ge=0, le=_MOST, description="Only versions above it."), BeforeValidator(in_digits)]


def _positive(schema: dict[str, Any]) -> None:
    """Say the bounds of a number that may be left out, which is not done of itself."""
    for constraint in ("ge", "le"):
        schema.pop(constraint, None)
    schema |= {"minimum": 1, "maximum": _MOST}


def _version(description: str) -> Any:
    return Query(ge=1, le=_MOST, description=description, json_schema_extra=_positive)


Below = Annotated[int | SkipJsonSchema[None], _version("Only versions below it."), BeforeValidator(in_digits)]
Version = Annotated[int | SkipJsonSchema[None], _version("As it was at this version."), BeforeValidator(in_digits)]
_TIME: dict[str, Any] = {"format": "date-time"}
Since = Annotated[_Text, Query(min_length=1, max_length=64, description="Only then or later.", json_schema_extra=_TIME)]
Until = Annotated[_Text, Query(min_length=1, max_length=64, description="Only before.", json_schema_extra=_TIME)]
_AS_OF = "As it was then; not together with `version`."
AsOf = Annotated[_Text, Query(min_length=1, max_length=64, description=_AS_OF, json_schema_extra=_TIME)]
_CONSISTENCY = "`cached`: as it was a moment ago, from a copy, also while the database does not answer; `Cache-Status` says how."
Consistency = Annotated[Literal["strong", "cached"], Query(description=_CONSISTENCY)]
_FROM_REPLICA = "`cached`: from a replica of the database where there is one, so objects may be a moment old."
ListConsistency = Annotated[Literal["strong", "cached"], Query(description=_FROM_REPLICA)]
_ACTOR = "Only what this principal did, as `actor` names it."
Actor = Annotated[_Text, Query(min_length=1, max_length=512, pattern=TEXT, description=_ACTOR)]
_CHANGES: dict[str, Any] = {"enum": [*get_args(ChangeName)]}
OfKind = Annotated[_Text, Query(min_length=1, max_length=32, description="Only changes so named.", json_schema_extra=_CHANGES)]
_COUNT = "Count the objects on all pages, but not further than this."
Count = Annotated[int, Query(ge=0, le=MOST_COUNTED, description=_COUNT), BeforeValidator(in_digits)]
_FILTERED: dict[str, Any] = _PERHAPS | {"x-stylobate-filters": True}
"""Its query may hold `filter[<field>][<operator>]`; what a namespace takes stands at its own path."""


def routes(channel: grpc.aio.Channel, reads: StateReads, watches: StateWatches) -> APIRouter:  # noqa: C901, PLR0915  one short function for each route
    """Return the area's routes over the channel to state."""
    router = area("/v1/state/{namespace:namespace}", "state")
    router.routes += watch_routes(watches)  # first: `watch` is no key there
    stub = StateServiceStub(channel)
    read = refuses("State", 403, 404, 422)
    got: Responses = {
        200: answer_of("The object", StateObject),
        304: {"description": "Unchanged"},
        **refuses("State", 403, 404, 410, 412, 422),
    }
    changed: Responses = {
        200: answer_of("The object", StateObject),
        **refuses("State", 403, 404, 412, has_body=True, is_change=True),
    }

    restored: Responses = changed | refuses("State", 410)
    listed: Responses = {200: answer_of("A page", StateList), **refuses("State", 403, 404, 409, 422)}

    @router.get("", responses=listed, openapi_extra=_FILTERED)
    async def list_objects(
        namespace: Namespace,
        request: Request,
        *,
        status: Status = "",
        sort: Sort = "",
        count: Count = 0,
        page_size: PageSize = 50,
        page_token: PageToken = "",
        consistency: ListConsistency = "strong",
    ) -> Response:
        """List the objects that you may list, in the order of their keys or of an index, with `filter[<field>][<operator>]`."""
        query = state.ListStatesRequest(
            namespace=namespace,
            status=status,
            filters=read_filters(request.scope["query_string"]),
            sort=sort,
            count_up_to=count,
            page_size=page_size,
            page_token=page_token,
            consistency=state.CONSISTENCY_CACHED if consistency == "cached" else state.CONSISTENCY_STRONG,
        )
        try:
            response = await stub.ListStates(query)
        except StylobateError as error:
            place(error, lambda pointer: pointer.replace("/count_up_to", "/count"))
            raise
        return _page(
            [object_document(found) for found in response.states], response.next_page_token, response.count if count else None
        )

    @router.get("/{key}", responses=got, openapi_extra=_PERHAPS)
    async def get_object(
        namespace: Namespace,
        key: Key,
        request: Request,
        given: ReadIf,
        *,
        version: Version = None,
        as_of: AsOf = None,
        consistency: Consistency = "strong",
    ) -> Response:
        """Read an object as it is, or as it was at a version or a time."""
        if version or as_of:
            asked = state.GetStateVersionRequest(namespace=namespace, key=key, version=version or 0, as_of=as_of or "")
            then = (await stub.GetStateVersion(asked)).state
            if given.is_unchanged(then.version):
                return Response(status_code=304, headers=given.unchanged(then.version))
            return _object(then, memento_headers(request.scope["raw_path"], then))
        found = await reads.answer(given, is_cached=consistency == "cached")
        if found.content is None:
            return Response(status_code=304, headers=found.headers)
        return Response(found.content, headers=found.headers, media_type=JSON)

    @router.put("/{key}", responses=changed, openapi_extra=body_of("StatePut"))
    async def put_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Create an object or replace its data."""
        body = parse_put(await request.body())

        async def put(version: int | None) -> state.State:
            data = bytes(body.data)
            command = state.PutStateRequest(
                namespace=namespace, key=key, data=data, status=body.status, owner=body.owner, expected_version=version
            )
            try:
                return (await answered(given.exchange, stub.PutState, command)).state
            except StylobateError as error:
                _place_in_body(error)
                raise

        return _object(await given.guard(put, reads.find))

    @router.patch("/{key}", responses=changed, openapi_extra=body_of("StatePatch", "application/merge-patch+json", JSON))
    async def patch_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Merge into the data of an object (RFC 7396)."""
        merged = await request.body()

        async def patch(version: int | None) -> state.State:
            command = state.PatchStateRequest(namespace=namespace, key=key, patch=merged, expected_version=version)
            return (await answered(given.exchange, stub.PatchState, command)).state

        return _object(await given.guard(patch, reads.present))

    @router.delete("/{key}", status_code=204, responses=refuses("State", 403, 404, 412, is_change=True), openapi_extra=_PERHAPS)
    async def delete_object(namespace: Namespace, key: Key, given: WriteIf) -> Response:
        """Delete an object; its history stays."""

        async def delete(version: int | None) -> None:
            command = state.DeleteStateRequest(namespace=namespace, key=key, expected_version=version)
            await answered(given.exchange, stub.DeleteState, command)

        await given.guard(delete, reads.present)
        return Response(status_code=204)

    @router.post("/{key}/transitions/{event}", responses=changed, openapi_extra=body_of("StateTransition"))
    async def transition_object(namespace: Namespace, key: Key, event: Event, request: Request, given: WriteIf) -> Response:
        """Fire an event of an object's status machine."""
        body = parse_transition(await request.body())

        async def fire(version: int | None) -> state.State:
            command = state.TransitionStateRequest(
                namespace=namespace, key=key, event=event, patch=bytes(body.data), expected_version=version
            )
            try:
                return (await answered(given.exchange, stub.TransitionState, command)).state
            except StylobateError as error:
                _place_in_body(error)
                raise

        return _object(await given.guard(fire, reads.present))

    @router.post("/{key}/restore", responses=restored, openapi_extra=body_of("StateRestore"))
    async def restore_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Make the data of an older version that of a new one; of an object that was deleted, undo that."""
        older = parse_restore(await request.body()).version

        async def restore(version: int | None) -> state.State:
            command = state.RestoreStateRequest(namespace=namespace, key=key, version=older, expected_version=version)
            return (await answered(given.exchange, stub.RestoreState, command)).state

        return _object(await given.guard(restore, reads.find))

    @router.put("/{key}/owner", responses=changed, openapi_extra=body_of("StateOwner"))
    async def assign_object(namespace: Namespace, key: Key, request: Request, given: WriteIf) -> Response:
        """Hand an object over to another owner."""
        body = parse_owner(await request.body())

        async def assign(version: int | None) -> state.State:
            command = state.AssignStateRequest(namespace=namespace, key=key, owner=body.owner, expected_version=version)
            return (await answered(given.exchange, stub.AssignState, command)).state

        return _object(await given.guard(assign, reads.present))

    @router.get("/{key}/history", responses={200: answer_of("A page", History), **read}, openapi_extra=_PERHAPS)
    async def list_history(
        namespace: Namespace,
        key: Key,
        *,
        after_version: Above = 0,
        before_version: Below = None,
        since: Since = None,
        until: Until = None,
        actor: Actor = None,
        change: OfKind = None,
        page_size: PageSize = 50,
        page_token: PageToken = "",
    ) -> Response:
        """List the versions of an object, newest first: all, or those of which everything holds that is asked."""
        request = state.ListHistoryRequest(
            namespace=namespace,
            key=key,
            after_version=after_version,
            before_version=before_version or 0,
            since=since or "",
            until=until or "",
            actor=actor or "",
            change=change or "",
            page_size=page_size,
            page_token=page_token,
        )
        response = await stub.ListHistory(request)
        return _page([version_document(found) for found in response.entries], response.next_page_token)

    return router


def answer_of(description: str, model: type[BaseModel]) -> dict[str, Any]:
    """Return what the document says of an answer in JSON."""
    return {"description": description, "model": model}


def body_of(schema: str, *kinds: str) -> dict[str, Any]:
    """Return what the document says of an operation that takes a body of this schema, known or not."""
    content = {kind: {"schema": {"$ref": f"#/components/schemas/{schema}"}} for kind in kinds or (JSON,)}
    return {"requestBody": {"required": schema != "StateTransition", "content": content}, **_PERHAPS}


def _place_in_body(error: StylobateError) -> None:
    """Name a place in an object's data as one in the body, whose member ``data`` it was."""
    if error.reason == DATA_INVALID:
        place(error, lambda pointer: f"/data{pointer}")


def _object(found: state.State, headers: Mapping[str, str] = MappingProxyType({})) -> Response:
    """Return the answer that an object is."""
    tagged = {"etag": f'"{found.version}"', **headers}
    return Response(orjson.dumps(object_document(found)), headers=tagged, media_type=JSON)


def _page(items: list[dict[str, Any]], token: str, count: int | None = None) -> Response:
    """Return the answer that a page is; with a count where one was asked for."""
    counted = {} if count is None else {"count": count}
    return Response(orjson.dumps({"items": items, "next_page_token": token or None, **counted}), media_type=JSON)
