"""What there is to export of a person beside auth's own: audit records, a ban, objects of state, what modules keep."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from datetime import UTC
from typing import Any

import grpc
import grpc.aio
from stylobate.api.audit.v1.audit_service_pb2 import ListRecordsRequest, ListRecordsResponse, Record
from stylobate.api.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import BanSubject, GetBanRequest
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub
from stylobate.audit.merged import told as told_record
from stylobate.audit.port import AuditStore
from stylobate.audit.query import AuditQuery
from stylobate.audit.servicer import to_record
from stylobate.clients.user_data import UserData
from stylobate.errors import StylobateError
from stylobate.rpc.own_name import in_own_name

from stylobate_auth.export_document import Told, section

_PAGE = 500
_PAGE_S = 30.0
_OWN = "auth"
AUDITED = ("actions", "ratelimit")
"""The others that keep audit records."""


class ExportSources:
    """Asks the other services, in this one's own name.

    :param channels: to ``state``, ``actions`` and ``ratelimit``. :param audit: this service's own records.
    :param namespaces: the names of those of state.
    """

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], audit: AuditStore[Any], namespaces: Sequence[str]) -> None:
        self._channels = channels
        self._audit = audit
        self._namespaces = sorted(namespaces)

    async def told(self, tenant: str, user_id: str, request_id: str) -> AsyncGenerator[Told, None]:
        """Tell every section; what cannot be read ends its section with an error."""
        parts = [
            section("audit", _OWN, self._own_records(tenant, user_id)),
            *(section("audit", name, self._records(name, user_id, request_id)) for name in AUDITED),
            section("ratelimit", "bans", self._bans(tenant, user_id, request_id)),
        ]
        data = UserData(self._channels["state"], self._channels["actions"], request_id)
        parts += [section("state", name, data.objects(tenant, user_id, name)) for name in self._namespaces]
        for part in (*parts, self._modules(data, tenant, user_id)):
            async for one in part:
                yield one

    async def _own_records(self, tenant: str, user_id: str) -> AsyncIterator[dict[str, Any]]:
        for actor, target in _about(user_id):
            before = None
            while True:
                page = await self._audit.read(AuditQuery(tenant, actor, target=target, before=before), _PAGE)
                for record in page.records:
                    if actor or record.actor != user_id:
                        yield _shown(_OWN, to_record(record), user_id)
                before = page.reached
                if before is None:
                    break

    async def _records(self, service: str, user_id: str, request_id: str) -> AsyncIterator[dict[str, Any]]:
        stub = AuditServiceStub(self._channels[service])
        for actor, target in _about(user_id):
            request = ListRecordsRequest(service=service, actor=actor, target=target, page_size=_PAGE)
            while True:
                with in_own_name(request_id):
                    called = stub.ListRecords(request, timeout=_PAGE_S)
                page: ListRecordsResponse = await called
                for record in page.records:
                    if actor or record.actor != user_id:
                        yield _shown(service, record, user_id)
                if not page.reached:
                    break
                request.before = page.reached

    async def _bans(self, tenant: str, user_id: str, request_id: str) -> AsyncIterator[dict[str, Any]]:
        stub = RateLimitServiceStub(self._channels["ratelimit"])
        with in_own_name(request_id):
            subject = BanSubject(level="user", subject=user_id, tenant=tenant)
            called = stub.GetBan(GetBanRequest(subject=subject), timeout=_PAGE_S)
        try:
            ban = (await called).ban
        except StylobateError as error:
            if error.code is grpc.StatusCode.NOT_FOUND:
                return
            raise
        yield {
            "reason": ban.reason or None,
            "rule": ban.rule or None,
            "started_at": ban.started_at.ToDatetime(tzinfo=UTC),
            "until": ban.until.ToDatetime(tzinfo=UTC) if ban.HasField("until") else None,
        }

    @staticmethod
    async def _modules(data: UserData, tenant: str, user_id: str) -> AsyncIterator[Told]:
        name = ""
        try:
            async for one in data.records(tenant, user_id):
                name = "" if not one.record else one.module
                yield Told("modules", one.module, one.record, one.reason, one.detail)
        except StylobateError as error:  # which modules there were behind this one, nobody says
            yield Told("modules", name or "*", reason=error.reason, detail=error.detail)
            if name:
                yield Told("modules", "*", reason=error.reason, detail=error.detail)


def _about(user_id: str) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return actor and target of what is asked for: what the person did, and then what was done to the account."""
    return (user_id, ""), ("", f"user:{user_id}")


def _shown(service: str, record: Record, user_id: str) -> dict[str, Any]:
    """Return a record as the person gets it: what another one did to the account does not tell who that was, nor where."""
    found = told_record(service, record)
    if record.actor == user_id:
        return found
    found["actor"] = record.actor if record.actor.startswith("service:") else None
    found["detail"] = {name: value for name, value in found["detail"].items() if name != "address"}
    return found
