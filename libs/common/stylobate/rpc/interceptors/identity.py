"""Who calls: verifies the tokens that came with a call and holds each method to its access."""

from collections.abc import Mapping
from typing import Any, Protocol

from stylobate.errors import PermissionDeniedError, StylobateError, TokenInvalidError, UnauthenticatedError
from stylobate.identity.client_address import address_of_peer, client_address, client_agent
from stylobate.identity.principal import ANONYMOUS, Principal, PrincipalKind
from stylobate.rpc.access import RpcAccess
from stylobate.rpc.call import (
    ACT_FOR,
    AUTHORIZATION,
    CLIENT_ADDRESS,
    CLIENT_AGENT,
    DOORS,
    HOOK_DEPTH,
    MAX_HOOK_DEPTH,
    OWN_NAME,
    SERVICE_TOKEN,
    USER_AGENT,
    Call,
    HookRecursionError,
    current_call,
)
from stylobate.rpc.method import Behaviour, Context, Method

_BEARER = "bearer "
_MAX_KEPT = 10_000


class UserTokens(Protocol):
    """What is used of :class:`stylobate.identity.TokenVerifier`."""

    def cached(self, token: str) -> Principal | None:
        """Return whom a token stands for if it was verified before; raises TokenRevokedError."""

    async def verify(self, token: str) -> Principal:
        """Return whom a token stands for; raises an UnauthenticatedError, or UnavailableError without keys."""


class ServiceTokens(Protocol):
    """What is used of :class:`stylobate.identity.ServiceIdentity`."""

    def verify(self, token: str) -> str:
        """Return the name of the service that signed the token; raises TokenInvalidError."""


class IdentityInterceptor:
    """Fills principal, authorization, act_for, hook depth and the client's address and agent of the call.

    A bearer token: its subject, and beside a service token ``via`` that service. A service token alone: the service for
    ``act_for`` where that is given, the service itself where it says that it speaks in its own name, else an anonymous caller
    ``via`` that service. No credential: anonymous. ``act_for`` of anyone else counts for nothing. In a public method everybody
    is anonymous: a stale bearer token must not keep anyone from logging in.
    """

    def __init__(self, users: UserTokens, services: ServiceTokens) -> None:
        self._users = users
        self._services = services
        self._through: dict[tuple[str, str], tuple[Principal, Principal]] = {}

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that knows its caller, or refuses it."""
        access = method.access

        async def public(data: bytes, context: Context) -> bytes:
            call = _call(context)
            token = call.metadata.get(SERVICE_TOKEN)
            service = self._services.verify(token) if isinstance(token, str) else ""
            _check_depth(call, call.metadata.get(HOOK_DEPTH))
            _set_client(call, service, context)
            if service:
                call.principal = ANONYMOUS.with_via(service)
            return await inner(data, context)

        async def behaviour(data: bytes, context: Context) -> bytes:
            call = _call(context)
            metadata = call.metadata
            token = metadata.get(SERVICE_TOKEN)
            authorization = metadata.get(AUTHORIZATION)
            service = self._services.verify(token) if isinstance(token, str) else ""
            _check_depth(call, metadata.get(HOOK_DEPTH))
            _set_client(call, service, context)
            if not service and access is RpcAccess.SERVICE:
                raise _refused(authorization)
            if authorization:
                await self._set_user(call, authorization, service)
            elif service:
                _set_service(call, service)
            if access is RpcAccess.AUTHENTICATED and call.principal.is_anonymous:
                raise UnauthenticatedError
            return await inner(data, context)

        return public if access is RpcAccess.PUBLIC else behaviour

    async def _set_user(self, call: Call, authorization: str | bytes, service: str) -> None:
        if not isinstance(authorization, str) or authorization[:7].lower() != _BEARER:
            raise TokenInvalidError("The authorization is not a bearer token.")
        token = authorization[7:]
        principal = self._users.cached(token) or await self._users.verify(token)
        call.authorization = authorization
        call.principal = self._through_service(token, principal, service) if service else principal

    def _through_service(self, token: str, principal: Principal, service: str) -> Principal:
        """Return the principal with ``via``; kept, since the same caller comes through the same service again and again."""
        kept = self._through.get((token, service))
        if kept is not None and kept[0] is principal:
            return kept[1]
        if len(self._through) >= _MAX_KEPT:
            self._through.clear()
        through = principal.with_via(service)
        self._through[token, service] = (principal, through)
        return through


def _set_service(call: Call, name: str) -> None:
    act_for = call.metadata.get(ACT_FOR, "")
    call.act_for = act_for if isinstance(act_for, str) else ""
    call.own_name = OWN_NAME in call.metadata
    if call.act_for or call.own_name:
        call.principal = Principal(kind=PrincipalKind.SERVICE, id=f"service:{name}", via=name, act_for=call.act_for)
    else:
        call.principal = ANONYMOUS.with_via(name)


def _set_client(call: Call, service: str, context: Context) -> None:
    """Note where the client is: who calls without a service is the peer itself, and only a door speaks for a client."""
    metadata = call.metadata
    if not service:
        call.client_address = address_of_peer(context.peer())
        call.client_agent = _agent(metadata.get(USER_AGENT))
    elif service in DOORS and CLIENT_ADDRESS in metadata:
        address = metadata[CLIENT_ADDRESS]
        call.client_address = client_address(address) if isinstance(address, str) else ""
        call.client_agent = _agent(metadata.get(CLIENT_AGENT))


def _agent(text: str | bytes | None) -> str:
    return client_agent(text) if isinstance(text, str) else ""


def _call(context: Context) -> Call:
    """Return the call; begun here where no trace interceptor stands before."""
    call = current_call.get()
    if call is None:
        call = Call()
        call.metadata = _mapping(context.invocation_metadata())
        current_call.set(call)
    return call


def _mapping(metadata: Any) -> Mapping[str, str | bytes]:
    return dict(metadata or ())


def _check_depth(call: Call, depth: str | bytes | None) -> None:
    if depth is None:
        return
    if not isinstance(depth, str) or not depth.isdecimal() or int(depth[:4]) > MAX_HOOK_DEPTH:
        raise HookRecursionError
    call.hook_depth = int(depth)


def _refused(authorization: str | bytes | None) -> StylobateError:
    if authorization:
        return PermissionDeniedError("Only services of the platform may call this.")
    return UnauthenticatedError("A service token is needed.")
