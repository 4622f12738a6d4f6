"""Several state objects at once: `/v1/state/transactions`, a name that no namespace can have."""

from dataclasses import replace

import grpc.aio
import orjson
from fastapi import APIRouter, Request, Response
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import StylobateError
from stylobate.modules.operations import OperationBody, parse_transaction

from stylobate_gateway.document.answers import Responses, refuses
from stylobate_gateway.idempotency import Changing, answered
from stylobate_gateway.routes.route import area
from stylobate_gateway.routes.state import DATA_INVALID, JSON, answer_of, body_of
from stylobate_gateway.schemas.state import TransactionResults
from stylobate_gateway.state_documents import object_document

_NAMES = {"/expected_version": "/if_version"}
"""Members that are named otherwise in the body."""


def routes(channel: grpc.aio.Channel) -> APIRouter:
    """Return the area's routes over the channel to state."""
    router = area("/v1/state", "state")
    stub = StateServiceStub(channel)
    changed: Responses = {
        200: answer_of("What each operation made, in their order", TransactionResults),
        **refuses("State", 403, 404, 410, 412, has_body=True, is_change=True),
    }

    @router.post("/transactions", responses=changed, openapi_extra=body_of("StateTransaction"))
    async def change_objects(request: Request, exchange: Changing) -> Response:
        """Change up to 50 objects of any namespaces: all of them, or none.

        Each operation has the rules of the route for one object. What refuses one refuses all: the problem is that of the first
        operation that is refused, and `metadata.index` says which.
        """
        body = parse_transaction(await request.body())
        command = state.TransactStatesRequest(operations=map(OperationBody.message, body.operations))
        try:
            response = await answered(exchange, stub.TransactStates, command)
        except StylobateError as error:
            _place_in_body(error)
            raise
        results = [object_document(one.state) | {"deleted": one.is_deleted} for one in response.results]
        return Response(orjson.dumps({"results": results}), media_type=JSON)

    return router


def _place_in_body(error: StylobateError) -> None:
    """Name the places that are wrong in an operation as places in the body."""
    if "index" not in error.metadata:
        return
    place = f"/operations/{error.metadata['index']}{'/data' if error.reason == DATA_INVALID else ''}"
    error.violations = tuple(replace(one, pointer=place + _NAMES.get(one.pointer, one.pointer)) for one in error.violations)
