"""AuditService: the records of the services hosted in this process."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Protocol

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.api.audit.v1.audit_service_pb2_grpc import AuditServiceServicer as GeneratedServicer
from stylobate.audit.chain import AuditChain
from stylobate.audit.convert_chain import BLOCKS, from_stretch, to_known
from stylobate.audit.port import AuditStore
from stylobate.audit.query import AuditQuery, Place
from stylobate.audit.record import AuditRecord, Outcome
from stylobate.errors import InvalidInputError, PermissionDeniedError, UnauthenticatedError, UnavailableError, Violation
from stylobate.identity import DEFAULT_TENANT, Principal
from stylobate.paging import page_size
from stylobate.rpc import RpcAccess
from stylobate.rpc.call import call

READ = "audit:read"
_MOST_TEXT = 512
_OUTCOMES = {
    pb.OUTCOME_SUCCESS: Outcome.SUCCESS,
    pb.OUTCOME_DENIED: Outcome.DENIED,
    pb.OUTCOME_FAILURE: Outcome.FAILURE,
}
_TOLD = {outcome: told for told, outcome in _OUTCOMES.items()}


class _Permissions(Protocol):
    async def allowed(self, principal: Principal, permission: str) -> bool: ...


class AuditServicer(GeneratedServicer):
    """Serves every service's records of the process; a request names one."""

    ACCESS: ClassVar[Mapping[str, RpcAccess]] = dict.fromkeys(("ListRecords", "VerifyRecords"), RpcAccess.AUTHENTICATED)

    def __init__(self, access: _Permissions) -> None:
        self._access = access
        self._kept: dict[str, tuple[AuditStore[Any], AuditChain]] = {}

    def add(self, service: str, store: AuditStore[Any], chain: AuditChain) -> None:
        """Serve the records of one more service."""
        self._kept[service] = store, chain

    async def ListRecords(self, request: pb.ListRecordsRequest, context: Any) -> pb.ListRecordsResponse:  # noqa: ARG002, N802  the generated signature
        """Return a service's records."""
        principal = await self._reader()
        query, size = _query(request, principal.tenant or DEFAULT_TENANT), page_size(request.page_size)
        store, _ = self._of(request.service)
        page = await store.read(query, size)
        return pb.ListRecordsResponse(records=map(to_record, page.records), reached=str(page.reached or ""))

    async def VerifyRecords(self, request: pb.VerifyRecordsRequest, context: Any) -> pb.VerifyRecordsResponse:  # noqa: ARG002, N802  likewise
        """Verify some blocks of a service's chain."""
        await self._reader()
        known = to_known(request)
        _, chain = self._of(request.service)
        return from_stretch(
            request.service, await chain.stretch(request.after, BLOCKS), known, known and await chain.block(known[0])
        )

    async def _reader(self) -> Principal:
        """Return who asks, if they may. Raises UnauthenticatedError, PermissionDeniedError."""
        principal = call().principal
        if principal.is_anonymous:
            raise UnauthenticatedError
        if not await self._access.allowed(principal, READ):
            raise PermissionDeniedError(f"This takes {READ}.", metadata={"permission": READ})
        return principal

    def _of(self, service: str) -> tuple[AuditStore[Any], AuditChain]:
        kept = self._kept.get(service)
        if kept is None:  # its database was not opened yet
            raise UnavailableError
        return kept


def _query(request: pb.ListRecordsRequest, tenant: str) -> AuditQuery:
    """Read what is asked for. Raises InvalidInputError."""
    texts = {name: getattr(request, name) for name in ("actor", "action", "target")}
    wrong = [
        Violation(f"/{name}", f"must be at most {_MOST_TEXT} characters, none of them U+0000")
        for name, text in texts.items()
        if len(text) > _MOST_TEXT or "\0" in text
    ]
    if "*" in request.action[:-1]:
        wrong.append(Violation("/action", "`*` may stand at the end only"))
    if request.outcome and request.outcome not in _OUTCOMES:
        wrong.append(Violation("/outcome", "is not an outcome"))
    if wrong:
        raise InvalidInputError(violations=wrong)
    return AuditQuery(
        tenant,
        **texts,
        outcome=_OUTCOMES[request.outcome] if request.outcome else None,
        since=_time(request.since) if request.HasField("since") else None,
        until=_time(request.until) if request.HasField("until") else None,
        before=Place.parse(request.before) if request.before else None,
    )


def _time(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def to_record(record: AuditRecord) -> pb.Record:
    """Return a record as it is told."""
    message = pb.Record(
        id=record.id,
        tenant=record.tenant,
        actor=record.actor,
        via=record.via,
        action=record.action,
        target=record.target,
        outcome=_TOLD[record.outcome],
        reason=record.reason,
        request_id=record.request_id,
        detail=orjson.dumps(record.detail),
        position=str(Place.of(record)),
    )
    message.time.FromDatetime(record.time)
    return message
