"""Watches of state objects, as server-sent events: `GET …/watch`."""

from typing import Annotated, Any

from fastapi import Header, Query, Request, Response
from starlette.routing import BaseRoute, Route
from stylobate.api.state.v1.state_service_pb2 import WatchStatesRequest
from stylobate.http.errors import MethodNotAllowedError

from stylobate_gateway.dispatch import allow
from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.routes.filters import read_filters
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.state import Key, Namespace
from stylobate_gateway.watches import MEDIA_TYPE, StateWatches

_PERHAPS: dict[str, Any] = {"security": [{"bearer": []}, {"apiKey": []}, {}], "x-stylobate-stream": True}
_POSITION = Header(
    alias="Last-Event-ID", max_length=1024, description="The last `id` that came: goes on behind it; else with a snapshot."
)
After = Annotated[str, _POSITION]
Status = Annotated[str, Query(max_length=128, description="Only objects while they are in this status.")]
_STREAM: Responses = {
    200: {
        "description": "Events without end: `snapshot`, then `change`; `gap` before a new snapshot; `end` says why.",
        "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
    **refuses("State", 403, 404, 422),
}
_FILTERED: Responses = _STREAM | refuses("State", 409)


def watch_routes(watches: StateWatches) -> list[BaseRoute]:
    """Return the routes."""
    router = area("/v1/state/{namespace}", "state")

    @router.get("/watch", responses=_FILTERED, response_class=Response, openapi_extra=_PERHAPS | {"x-stylobate-filters": True})
    async def watch_objects(namespace: Namespace, request: Request, after: After = "", status: Status = "") -> Response:
        """Follow objects that you may list and read, with `filter[<field>][<operator>]`: how they stand, then every change."""
        filters = read_filters(request.scope["query_string"])
        asked = WatchStatesRequest(namespace=namespace, status=status, filters=filters, position=after)
        return await watches.open(request.scope["stylobate"], asked)

    @router.get("/{key}/watch", responses=_STREAM, response_class=Response, openapi_extra=_PERHAPS)
    async def watch_object(namespace: Namespace, key: Key, request: Request, after: After = "") -> Response:
        """Follow an object: how it stands, then every change."""
        asked = WatchStatesRequest(namespace=namespace, key=key, position=after)
        return await watches.open(request.scope["stylobate"], asked)

    return [*router.routes, Route("/v1/state/{namespace}/watch", _OtherMethod(), include_in_schema=False)]


class _OtherMethod:
    """ASGI. Refuses other methods: no object is reached at the key `watch`."""

    async def __call__(self, *_: Any) -> None:
        """Raise MethodNotAllowedError."""
        raise MethodNotAllowedError(metadata={"allow": allow(("GET",))})
