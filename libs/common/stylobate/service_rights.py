"""Which service may call what of another: the key of one must not open what only others need.

Each service says what it calls in its ``spec.py``. A name is a gRPC service whose every method is called,
``state.v1.StateService``, or one method of it, ``auth.v1.AuthService/CreateUser``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

PACKAGE = "stylobate.api."
"""Left out in front of names."""
EVERY_SERVICE = frozenset({
    "auth.v1.TokenService", "auth.v1.AccessService", "ratelimit.v1.RateLimitService/CheckLimits",
    "ratelimit.v1.RateLimitService/WatchBans",
})  # fmt: skip
"""What each process asks for all the services in it: keys, revocations, permissions, limits and bans of its gRPC edge."""


@dataclass(frozen=True, slots=True)
class ServiceRights:
    """What one service may call."""

    own: frozenset[str] = frozenset()
    """In its own name, or for a subject (``act_for``), beside what every service may."""
    through: frozenset[str] = frozenset()
    """For a caller that it passes on: with a bearer token, or for nobody known."""


_OF_KEYS = ("CreateApiKey", "ListApiKeys", "RotateApiKey", "ChangeApiKeyLimit", "RevokeApiKey")
OPERATOR = "cli"
"""Who signs the tokens of the operator's command."""
OPERATOR_RIGHTS = ServiceRights(
    own=frozenset(
        {
            "audit.v1.AuditService",
            "auth.v1.AuthService/CreateUser",
            *(f"auth.v1.ApiKeyService/{name}" for name in _OF_KEYS),
            "auth.v1.FirstAdminService/InviteFirstAdmin",
            "auth.v1.GrantService",
            "auth.v1.RoleService",
            "auth.v1.ServiceAccountService",
            "auth.v1.SigningKeyService",
            "auth.v1.AccountKeyService",
            "state.v1.StateKeyService",
            "auth.v1.UserExportService/ExportUser",
            "auth.v1.UserPasswordService",
            "auth.v1.UserProfileService",
            *(
                f"auth.v1.UserService/{name}"
                for name in (
                    "ListUsers",
                    "GetUser",
                    "DisableUser",
                    "EnableUser",
                    "DeleteUser",
                    "ListUserSessions",
                    "RevokeUserSessions",
                )
            ),
            "events.v1.EventService",
            *(f"state.v1.StateKeepingService/{name}States" for name in ("Migrate", "Check", "Export", "Import", "Move", "Clear")),
            "state.v1.StateKeepingService/EraseState",
            "state.v1.StateKeepingService/ListStatePlaces",
            "state.v1.ProjectionService/ListProjections",
            "state.v1.ProjectionService/RebuildProjection",
            "ratelimit.v1.RateLimitService/PutBan",
            "ratelimit.v1.RateLimitService/DeleteBan",
            "ratelimit.v1.RateLimitService/ListBans",
            "ratelimit.v1.RateLimitService/ListRules",
            "ratelimit.v1.RateLimitService/GetUsage",
            "ratelimit.v1.RateLimitService/ResetUsage",
        }
    )
)


def callers_of(method: str, rights: Mapping[str, ServiceRights]) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return the services that may call a method in their own name (None: every one), and those that may for who they pass on.

    :param method: its full name, ``/stylobate.api.auth.v1.AuthService/CreateUser``.
    """
    name = method.removeprefix("/").removeprefix(PACKAGE)
    names = {name, name.partition("/")[0]}
    own = frozenset(service for service, held in rights.items() if names & held.own)
    through = frozenset(service for service, held in rights.items() if names & held.through)
    return None if names & EVERY_SERVICE else own, through
