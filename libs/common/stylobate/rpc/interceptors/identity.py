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


class Edge(Protocol):
    """What is used of :class:`stylobate.rpc.edge.Edge`; each raises RateLimitedError."""

    async def charge_address(self, address: str) -> None:
        """Charge where a call comes from."""

    async def charge_user(self, user: str) -> None:
        """Charge whose token was verified."""

    async def charge_both(self, address: str, user: str) -> None:
        """Charge a user whose token was known."""


class IdentityInterceptor:
    """Fills principal, authorization, act_for, hook depth and the client's address and agent of the call.

    A bearer token: its subject, and beside a service token ``via`` that service. A service token alone: the service for
    ``act_for`` where that is given, the service itself where it says that it speaks in its own name, else an anonymous caller
    ``via`` that service. No credential: anonymous. ``act_for`` of anyone else counts for nothing. In a public method everybody
    is anonymous: a stale bearer token must not keep anyone from logging in.

    :param edge: charges calls without a service token that holds, before anything else is verified; None: they are free.
    """

    def __init__(self, users: UserTokens, services: ServiceTokens, edge: Edge | None = None) -> None:
        self._users = users
        self._services = services
        self._edge = edge
        self._through: dict[tuple[str, str], tuple[Principal, Principal]] = {}

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that knows its caller, or refuses it."""
        access = method.access

        async def public(data: bytes, context: Context) -> bytes:
            call = _call(context)
            service = await self._service(call, context)
            _check_depth(call, call.metadata.get(HOOK_DEPTH))
            if service:
                call.principal = ANONYMOUS.with_via(service)
            elif self._edge is not None:
                await self._edge.charge_address(call.client_address)
            return await inner(data, context)

        async def behaviour(data: bytes, context: Context) -> bytes:
            await self._identify(_call(context), context, access)
            return await inner(data, context)

        return public if access is RpcAccess.PUBLIC else behaviour

    async def _identify(self, call: Call, context: Context, access: RpcAccess) -> None:
        """Fill the call, or refuse it."""
        authorization = call.metadata.get(AUTHORIZATION)
        service = await self._service(call, context)
        _check_depth(call, call.metadata.get(HOOK_DEPTH))
        if not service:
            if self._edge is not None:
                await self._admit(call, authorization, self._edge)
            elif authorization:
                await self._set_user(call, authorization, "")
            if access is RpcAccess.SERVICE:
                raise _refused(authorization)
        elif authorization:
            await self._set_user(call, authorization, service)
        else:
            _set_service(call, service)
        if access is RpcAccess.AUTHENTICATED and call.principal.is_anonymous:
            raise UnauthenticatedError

    async def _service(self, call: Call, context: Context) -> str:
        """Return which service calls, or nothing; note where the client is. One that only says so is charged for the look."""
        token = call.metadata.get(SERVICE_TOKEN)
        try:
            service = self._services.verify(token) if isinstance(token, str) else ""
        except TokenInvalidError:
            if self._edge is not None:
                await self._edge.charge_address(address_of_peer(context.peer()))
            raise
        _set_client(call, service, context)
        return service

    async def _admit(self, call: Call, authorization: str | bytes | None, edge: Edge) -> None:
        """Charge a caller who is no service: guessing must never reach the check of a signature uncharged."""
        try:
            known = self._users.cached(_bearer(authorization)) if authorization else None
        except UnauthenticatedError:  # malformed or revoked: a look like any other
            await edge.charge_address(call.client_address)
            raise
        if known is not None:
            await edge.charge_both(call.client_address, known.id)
        else:
            await edge.charge_address(call.client_address)
        if authorization:
            await self._set_user(call, authorization, "")
            if known is None:
                await edge.charge_user(call.principal.id)

    async def _set_user(self, call: Call, authorization: str | bytes, service: str) -> None:
        token = _bearer(authorization)
        principal = self._users.cached(token) or await self._users.verify(token)
        call.authorization = f"Bearer {token}"
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


def _bearer(authorization: str | bytes) -> str:
    """Return the token. Raises TokenInvalidError."""
    if not isinstance(authorization, str) or authorization[:7].lower() != _BEARER:
        raise TokenInvalidError("The authorization is not a bearer token.")
    return authorization[7:]


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
