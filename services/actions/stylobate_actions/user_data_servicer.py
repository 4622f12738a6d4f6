"""``UserDataService`` on the wire: convert in, ask, convert out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from stylobate.api.actions.v1 import user_data_service_pb2 as pb
from stylobate.api.actions.v1.user_data_service_pb2_grpc import UserDataServiceServicer
from stylobate.identity import DEFAULT_TENANT
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_actions.user_data import Given, UserData

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class UserDataServicer(UserDataServiceServicer):
    """What modules say about a person, for services."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {"ExportUserData": RpcAccess.SERVICE}

    def __init__(self, users: UserData) -> None:
        self._users = users

    async def ExportUserData(self, request: pb.ExportUserDataRequest, context: Any) -> AsyncIterator[pb.ExportUserDataResponse]:
        async with aclosing(self._users.export(request.tenant or DEFAULT_TENANT, request.user_id, call())) as given:
            async for one in given:
                yield _to_response(one)


def _to_response(given: Given) -> pb.ExportUserDataResponse:
    if given.record:
        return pb.ExportUserDataResponse(module=given.module, record=given.record)
    error = given.error
    end = pb.ExportEnd() if error is None else pb.ExportEnd(reason=error.reason, detail=error.detail)
    return pb.ExportUserDataResponse(module=given.module, end=end)
