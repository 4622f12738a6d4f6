"""Which service may call what of another: the key of one must not open what only others need.

The same graph as in ``tests/placement/test_call_graph.py``, in methods. A name is a gRPC service of which every method is called,
``state.v1.StateService``, or one method of it, ``auth.v1.AuthService/CreateUser``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_PACKAGE = "/stylobate.api."
_KEYS, _ACCESS = "auth.v1.TokenService", "auth.v1.AccessService"
_LIMITS, _EVENTS = "ratelimit.v1.RateLimitService", "events.v1.EventService"
_AUTH, _STATE, _ACTIONS = "auth.v1.AuthService", "state.v1.StateService", "actions.v1.ActionService"
_MODULES = "actions.v1.ModuleService"
_PUBLISH = "realtime.v1.RealtimeService/Publish"
_EVERY_SERVICE = frozenset({_KEYS, _ACCESS, _LIMITS})
"""What each process asks for all the services in it: keys, revocations, permissions, limits of its gRPC edge."""


@dataclass(frozen=True, slots=True)
class ServiceRights:
    """What one service may call."""

    own: frozenset[str] = frozenset()
    """In its own name, or for a subject (``act_for``), beside what every service may."""
    through: frozenset[str] = frozenset()
    """For a caller that it passes on: with a bearer token, or for nobody known."""


SERVICE_RIGHTS: Mapping[str, ServiceRights] = {
    "gateway": ServiceRights(
        own=frozenset({f"{_ACTIONS}/ListActions"}),
        through=frozenset({_STATE, _ACTIONS, f"{_MODULES}/ListModules", f"{_KEYS}/GetJwks"})
        | {f"{_AUTH}/{method}" for method in ("RegisterUser", "LoginUser", "RefreshSession", "LogoutSession", "GetMe")},
    ),
    "realtime": ServiceRights(own=frozenset({_EVENTS}), through=frozenset({f"{_STATE}/GetState"})),
    "actions": ServiceRights(own=frozenset({_EVENTS, _STATE, _PUBLISH}), through=frozenset({_STATE, _PUBLISH})),
    "state": ServiceRights(own=frozenset({f"{_MODULES}/CallHook"}), through=frozenset({f"{_MODULES}/CallHook"})),
    "auth": ServiceRights(),
    "ratelimit": ServiceRights(),
    "cli": ServiceRights(own=frozenset({f"{_AUTH}/CreateUser", _EVENTS})),
}


def callers_of(method: str, rights: Mapping[str, ServiceRights] = SERVICE_RIGHTS) -> tuple[frozenset[str] | None, frozenset[str]]:
    """Return the services that may call a method in their own name (None: every one), and those that may for who they pass on.

    :param method: its full name, ``/stylobate.api.auth.v1.AuthService/CreateUser``.
    """
    name = method.removeprefix(_PACKAGE)
    names = {name, name.partition("/")[0]}
    own = frozenset(service for service, held in rights.items() if names & held.own)
    through = frozenset(service for service, held in rights.items() if names & held.through)
    return None if names & _EVERY_SERVICE else own, through


def audience_of(method: str) -> str:
    """Return the service that a method belongs to; empty for one that several serve, such as the reading of event logs."""
    domain = method.removeprefix(_PACKAGE).partition(".")[0]
    return domain if domain in SERVICE_RIGHTS else ""
