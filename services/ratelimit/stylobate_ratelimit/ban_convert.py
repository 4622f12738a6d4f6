"""Bans between protobuf messages and the manager's plain types."""

from datetime import UTC, datetime

from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.identity import DEFAULT_TENANT, Principal

from stylobate_ratelimit.ban import Ban, BanSubject, OperatorBan
from stylobate_ratelimit.ban_list import BanChange


def from_subject(message: pb.BanSubject, principal: Principal) -> BanSubject:
    """Return whom a request names, as it does."""
    return BanSubject(message.tenant or principal.tenant or DEFAULT_TENANT, message.level, message.subject)


def from_put(request: pb.PutBanRequest, principal: Principal) -> OperatorBan:
    """Return the ban that is asked for."""
    duration = request.duration.ToTimedelta() if request.HasField("duration") else None
    return OperatorBan(from_subject(request.subject, principal), duration, request.reason, principal.id)


def to_ban(ban: Ban, now: datetime | None = None) -> pb.Ban:
    """Return a ban, with what is left of it where the time is given."""
    tenant, level, subject = ban.subject
    message = pb.Ban(level=level, subject=subject, tenant=tenant, reason=ban.reason, rule=ban.rule, actor=ban.actor)
    message.strikes = ban.strikes
    message.started_at.FromDatetime(ban.started_at.astimezone(UTC))
    if ban.until is not None:
        message.until.FromDatetime(ban.until.astimezone(UTC))
        if now is not None:
            message.remaining.FromTimedelta(ban.until - now)
    return message


def to_change(change: BanChange) -> pb.WatchBansResponse:
    """Return a message of the stream."""
    message = pb.WatchBansResponse(complete=change.is_complete)
    for ban in change.bans:
        if ban.holds(change.now):
            message.bans.append(to_ban(ban, change.now))
        else:
            tenant, level, subject = ban.subject
            message.lifted.append(pb.BanSubject(tenant=tenant, level=level, subject=subject))
    if change.age:
        message.age.FromTimedelta(change.age)
    return message
