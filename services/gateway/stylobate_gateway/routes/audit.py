"""What was done by whom: `/v1/audit`, for those who watch over the platform."""

import asyncio
from collections.abc import Mapping

import grpc.aio
from fastapi import APIRouter
from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.api.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from stylobate.audit.merged import OUTCOMES, merged, told
from stylobate.paging import page_position, page_token

from stylobate_gateway.document.answers import refuses
from stylobate_gateway.routes.route import area
from stylobate_gateway.schemas.audit import (
    Actor,
    AuditRecord,
    AuditRecords,
    Named,
    OfOutcome,
    OfService,
    Since,
    Target,
    Until,
)
from stylobate_gateway.schemas.common import PageSize, PageToken

AUDITED = ("actions", "auth", "ratelimit")
"""The services that keep records. State's history is a record of its own."""


def routes(channels: Mapping[str, grpc.aio.Channel]) -> APIRouter:
    """Return the area's routes over the channels to the services that keep records."""
    router = area("/v1/audit", "audit")
    stubs = {service: AuditServiceStub(channels[service]) for service in AUDITED}

    @router.get("", responses=refuses("Audit", 422))
    async def list_audit_records(  # noqa: PLR0917  each a parameter of the query
        service: OfService = "",
        actor: Actor = "",
        action: Named = "",
        target: Target = "",
        outcome: OfOutcome = "",
        since: Since = None,
        until: Until = None,
        page_size: PageSize = 50,
        page_token: PageToken = "",
    ) -> AuditRecords:
        """List what was done, the latest first. Takes `audit:read`."""
        about = ("audit", service, actor, action, target, outcome, str(since or ""), str(until or ""))
        request = pb.ListRecordsRequest(
            actor=actor,
            action=action,
            target=target,
            outcome=OUTCOMES.get(outcome, pb.OUTCOME_UNSPECIFIED),
            before=page_position(about, page_token),
            page_size=page_size,
        )
        if since is not None:
            request.since.FromDatetime(since)
        if until is not None:
            request.until.FromDatetime(until)
        asked = [service] if service else AUDITED  # one that does not answer is an error: its records would be missing
        pages = await asyncio.gather(*(stubs[name].ListRecords(_of(request, name)) for name in asked))
        found = merged(dict(zip(asked, pages, strict=True)), page_size)
        items = [AuditRecord(**told(name, record)) for name, record in found.records]
        return AuditRecords(items=items, next_page_token=_next(about, found.reached))

    return router


def _next(about: tuple[str, ...], reached: str) -> str | None:
    return page_token(about, reached) if reached else None


def _of(request: pb.ListRecordsRequest, service: str) -> pb.ListRecordsRequest:
    asked = pb.ListRecordsRequest(service=service)
    asked.MergeFrom(request)
    return asked
