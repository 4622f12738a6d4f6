"""The RPCs that export accounts: convert in, call the manager, convert out."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any, ClassVar

from stylobate.api.auth.v1 import user_export_service_pb2 as pb
from stylobate.api.auth.v1.user_export_service_pb2_grpc import UserExportServiceServicer
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

from stylobate_auth.export_document import Told
from stylobate_auth.user_exporter import UserExporter

# ruff: noqa: N802, ARG002  the names and signatures are the generated ones


class UserExportServicer(UserExportServiceServicer):
    """What the platform keeps of a person."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = {
        "ExportUser": RpcAccess.AUTHENTICATED,
        "ExportMe": RpcAccess.AUTHENTICATED,
    }

    def __init__(self, exporter: UserExporter) -> None:
        self._exporter = exporter

    async def ExportUser(self, request: pb.ExportUserRequest, context: Any) -> AsyncIterator[pb.ExportUserResponse]:
        caller = call()
        async with aclosing(self._exporter.export(caller.principal, request.id, caller)) as parts:
            async for part in parts:
                yield pb.ExportUserResponse(part=part.text, failures=_to_failures(part.failures))

    async def ExportMe(self, request: pb.ExportMeRequest, context: Any) -> AsyncIterator[pb.ExportMeResponse]:
        caller = call()
        async with aclosing(self._exporter.export_own(caller.principal, caller)) as parts:
            async for part in parts:
                yield pb.ExportMeResponse(part=part.text, failures=_to_failures(part.failures))


def _to_failures(failures: Iterable[Told]) -> list[pb.ExportFailure]:
    return [pb.ExportFailure(source=one.source, name=one.name, reason=one.reason) for one in failures]
