"""Between the API's messages and plain types."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from stylobate.api.auth.v1 import api_key_service_pb2 as api_key
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1 import grant_service_pb2 as grant
from stylobate.api.auth.v1 import role_service_pb2 as role
from stylobate.api.auth.v1 import service_account_service_pb2 as machine
from stylobate.api.auth.v1 import session_service_pb2 as pb
from stylobate.api.auth.v1 import token_service_pb2 as token
from stylobate.api.auth.v1 import user_service_pb2 as users
from stylobate.api.auth.v1.access_service_pb2 import (
    AccessReason,
    CheckAccessRequest,
    CheckAccessResponse,
    ExplainAccessResponse,
    GrantedResources,
)
from stylobate.errors import InvalidInputError, Violation
from stylobate.identity import DEFAULT_TENANT
from stylobate.identity.api_key import ApiKeyText

from stylobate_auth.access_manager import Explanation
from stylobate_auth.api_key import ApiKey, ApiKeyDraft, VerifiedKey
from stylobate_auth.devices import devices_of
from stylobate_auth.grant import Grant
from stylobate_auth.model import Account, AccountDraft, Decision, Question, Revocation, Session, Tokens
from stylobate_auth.revocation_manager import RevocationChange
from stylobate_auth.role import HeldRole, RoleDraft
from stylobate_auth.role_book import DefinedRole
from stylobate_auth.role_definition_manager import RoleView
from stylobate_auth.service_account import ServiceAccount
from stylobate_auth.user import UserDeletion, UserQuery

_OVERLAP = timedelta(days=1)


def to_user(account: Account) -> auth.User:
    """Return an account as its owner may see it."""
    return auth.User(
        id=account.id,
        email=account.email,
        display_name=account.display_name,
        roles=account.roles,
        email_verified=account.email_verified,
        created_at=to_timestamp(account.created_at),
    )


def to_user_account(account: Account) -> users.UserAccount:
    """Return an account as an administrator sees it."""
    return users.UserAccount(
        id=account.id,
        email=account.email,
        display_name=account.display_name,
        roles=account.roles,
        email_verified=account.email_verified,
        created_at=to_timestamp(account.created_at),
        status=users.USER_STATUS_ACTIVE if account.disabled_at is None else users.USER_STATUS_DISABLED,
        disabled_at=None if account.disabled_at is None else to_timestamp(account.disabled_at),
    )


def to_deleted_user(deletion: UserDeletion) -> users.UserAccount:
    """Return what is left of an account."""
    return users.UserAccount(
        id=deletion.id,
        status=users.USER_STATUS_DELETING if deletion.done_at is None else users.USER_STATUS_DELETED,
        deletion_began_at=to_timestamp(deletion.began_at),
        deleted_at=None if deletion.done_at is None else to_timestamp(deletion.done_at),
    )


def from_user_query(request: users.ListUsersRequest) -> UserQuery:
    """Return which accounts are asked for. Raises InvalidInputError."""
    after, before = (
        _from_time(request, name) if request.HasField(name) else None for name in ("created_after", "created_before")
    )
    return UserQuery(request.email, request.role, after, before)


def _from_time(request: users.ListUsersRequest, name: str) -> datetime:
    time: Timestamp = getattr(request, name)
    try:
        return time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidInputError(violations=[Violation(f"/{name}", "is not a time")]) from None


async def to_sessions(sessions: Sequence[Session], current: str) -> list[pb.Session]:
    """Return sessions as their owner sees them; ``current``: the id of the one that asks."""
    devices = await devices_of(session.agent for session in sessions)
    return [_to_session(session, current, devices[session.agent]) for session in sessions]


def _to_session(session: Session, current: str, device: str) -> pb.Session:
    return pb.Session(
        id=session.id,
        opened_at=to_timestamp(session.opened_at),
        seen_at=to_timestamp(session.seen_at or session.opened_at),
        expires_at=to_timestamp(session.expires_at),
        address=session.address,
        agent=session.agent,
        current=session.id == current,
        device=device,
    )


def to_tokens(tokens: Tokens, lifetime: timedelta) -> auth.Tokens:
    """Return tokens as their client gets them."""
    return auth.Tokens(
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        expires_in=to_duration(lifetime),
        session_expires_in=to_duration(tokens.session_ends_at - tokens.expires_at + lifetime),
    )


def to_revocations(entries: Iterable[Revocation]) -> list[token.Revocation]:
    """Return entries of the deny-list."""
    return [
        token.Revocation(
            kind=token.RevocationKind.ValueType(entry.kind),
            id=entry.id,
            tenant=entry.tenant,
            not_before=None if entry.not_before is None else to_timestamp(entry.not_before),
            expires_at=to_timestamp(entry.expires_at),
        )
        for entry in entries
    ]


def to_watch_response(change: RevocationChange) -> token.WatchRevocationsResponse:
    """Return a message of the stream."""
    return token.WatchRevocationsResponse(
        revocations=to_revocations(change.entries),
        complete=change.is_complete,
        access_version=change.access_version,
        age=to_duration(change.age),
    )


def to_list_response(change: RevocationChange) -> token.ListRevocationsResponse:
    """Return the whole list."""
    return token.ListRevocationsResponse(
        revocations=to_revocations(change.entries), access_version=change.access_version, age=to_duration(change.age)
    )


def from_checks(request: CheckAccessRequest) -> list[Question]:
    """Return the questions of a request."""
    return [Question(check.subject, check.permission, check.tenant or DEFAULT_TENANT, check.resource) for check in request.checks]


def from_register(request: auth.RegisterUserRequest) -> AccountDraft:
    """Return the account that is asked for."""
    return AccountDraft(request.email, request.password, request.display_name)


def from_create(request: auth.CreateUserRequest) -> AccountDraft:
    """Return the account that is asked for."""
    return AccountDraft(request.email, request.password, request.display_name, tuple(request.roles))


def from_api_key(request: api_key.CreateApiKeyRequest) -> ApiKeyDraft:
    """Return the key that is asked for."""
    expires_at = request.expires_at.ToDatetime(tzinfo=UTC) if request.HasField("expires_at") else None
    scopes, cidrs = tuple(request.scopes), tuple(request.allowed_cidrs)
    return ApiKeyDraft(request.name, scopes, cidrs, expires_at, request.owner, request.rate_limit, request.public_key)


def from_overlap(request: api_key.RotateApiKeyRequest) -> timedelta:
    """Return how long a key holds after it was exchanged."""
    return request.overlap.ToTimedelta() if request.HasField("overlap") else _OVERLAP


def from_proofs(request: token.VerifyApiKeysRequest) -> list[ApiKeyText]:
    """Return the keys of a request."""
    return [ApiKeyText(proof.id, proof.secret_hash) for proof in request.proofs]


def to_api_key(key: ApiKey, prefix: str) -> api_key.ApiKey:
    """Return a key as its owner may see it.

    :param prefix: how its text begins; empty: it has none.
    """
    return api_key.ApiKey(
        id=key.id,
        owner=key.owner,
        name=key.name,
        prefix=prefix,
        scopes=key.scopes,
        allowed_cidrs=key.allowed_cidrs,
        created_at=to_timestamp(key.created_at),
        expires_at=None if key.expires_at is None else to_timestamp(key.expires_at),
        last_used_at=None if key.last_used_at is None else to_timestamp(key.last_used_at),
        revoked_at=None if key.revoked_at is None else to_timestamp(key.revoked_at),
        replaced_by=key.replaced_by,
        rate_limit=key.rate_limit,
        public_key=key.public_key,
    )


def to_service_account(account: ServiceAccount) -> machine.ServiceAccount:
    """Return a service account."""
    return machine.ServiceAccount(
        id=account.id, name=account.name, roles=account.roles, created_at=to_timestamp(account.created_at)
    )


def to_held_role(held: HeldRole) -> role.HeldRole:
    """Return a role that an account holds."""
    return role.HeldRole(
        role=held.role,
        expires_at=None if held.expires_at is None else to_timestamp(held.expires_at),
        assigned_at=None if held.assigned_at is None else to_timestamp(held.assigned_at),
        assigned_by=held.assigned_by,
    )


def from_assign(request: role.AssignRoleRequest) -> RoleDraft:
    """Return the role that is to be given."""
    return RoleDraft(request.role, request.expires_at.ToDatetime(tzinfo=UTC) if request.HasField("expires_at") else None)


def from_put(request: role.PutRoleRequest) -> DefinedRole:
    """Return the role that is to be kept."""
    return DefinedRole("", request.name, request.description, tuple(request.permissions), tuple(request.inherits))


def to_role(view: RoleView) -> role.Role:
    """Return a role."""
    return role.Role(
        name=view.name,
        description=view.description,
        permissions=view.permissions,
        inherits=view.inherits,
        effective_permissions=view.effective,
        declared_by=view.declared_by,
        changed_at=None if view.changed_at is None else to_timestamp(view.changed_at),
    )


def to_decisions(found: Sequence[Decision]) -> CheckAccessResponse:
    """Return decisions."""
    return CheckAccessResponse(
        allowed=[one.is_allowed for one in found],
        granted=[GrantedResources(resources=one.granted, more=one.has_more) for one in found],
    )


def to_grant(found: Grant) -> grant.Grant:
    """Return a grant."""
    return grant.Grant(
        subject=found.subject,
        permission=found.permission,
        resource=found.resource,
        expires_at=None if found.expires_at is None else to_timestamp(found.expires_at),
        granted_at=None if found.granted_at is None else to_timestamp(found.granted_at),
        granted_by=found.granted_by,
    )


def from_grant(request: grant.PutGrantRequest) -> Grant:
    """Return the grant that is to be given."""
    end = request.expires_at.ToDatetime(tzinfo=UTC) if request.HasField("expires_at") else None
    return Grant("", request.subject, request.permission, request.resource, end)


def to_explanation(found: Explanation) -> ExplainAccessResponse:
    """Return a decision and why."""
    return ExplainAccessResponse(
        allowed=found.is_allowed,
        reasons=[
            AccessReason(role=one.role, through=one.through, permission=one.permission, source=one.source, resource=one.resource)
            for one in found.reasons
        ],
        would_permit=found.would_permit,
    )


def to_verified_key(found: VerifiedKey) -> token.VerifiedApiKey:
    """Return how a key stands."""
    standing = token.ApiKeyStanding.ValueType(found.standing.value)
    key, verified_at, believed_until = found.key, found.verified_at, found.believed_until
    if key is None or verified_at is None or believed_until is None:
        return token.VerifiedApiKey(standing=standing)
    return token.VerifiedApiKey(
        standing=standing,
        tenant=key.tenant,
        owner=key.owner,
        scopes=key.scopes,
        allowed_cidrs=key.allowed_cidrs,
        verified_at=to_timestamp(verified_at),
        believed_until=to_timestamp(believed_until),
        rate_limit=key.rate_limit,
    )


def to_timestamp(time: datetime) -> Timestamp:
    """Return a time."""
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp


def to_duration(length: timedelta) -> Duration:
    """Return a length of time."""
    duration = Duration()
    duration.FromTimedelta(length)
    return duration
