"""Who calls: verifies the tokens that came with a call and holds each method to its access."""

from collections.abc import Collection
from typing import Any, Protocol

from stylobate.errors import PermissionDeniedError, StylobateError, TokenInvalidError, UnauthenticatedError
from stylobate.identity.client_address import address_of_peer
from stylobate.identity.principal import ANONYMOUS, Principal
from stylobate.rpc.access import RpcAccess
from stylobate.rpc.call import AUTHORIZATION, Call, current_call, repeated
from stylobate.rpc.interceptors.caller_metadata import refuse_repeated, set_client, set_depth, set_service
from stylobate.rpc.interceptors.service_caller import MethodCallers, ServiceCallers, ServiceTokenInvalidError
from stylobate.rpc.method import Behaviour, Context, Method

_BEARER = "bearer "
_MAX_KEPT = 10_000


class UserTokens(Protocol):
    """What is used of :class:`stylobate.identity.TokenVerifier`."""

    def cached(self, token: str) -> Principal | None:
        """Return whose token it is, if it has been verified before. Raises TokenRevokedError."""

    async def verify(self, token: str) -> Principal:
        """Return whose token it is. Raises an UnauthenticatedError, or UnavailableError while auth's keys are not known."""


class Edge(Protocol):
    """What is used of :class:`stylobate.clients.edge.Edge`; each raises RateLimitedError."""

    async def charge_address(self, address: str) -> None:
        """Charge where a call comes from."""

    async def charge_user(self, user: str) -> None:
        """Charge the user whose token was verified."""

    async def charge_both(self, address: str, user: str) -> None:
        """Charge a user whose token was known."""


class IdentityInterceptor:
    """Fills principal, authorization, act_for, hook depth and the client's address and agent of the call.

    A bearer token: its subject, and beside a service token ``via`` that service. A service token alone: the service for
    ``act_for`` where that is given, the service itself where it says that it speaks in its own name, else an anonymous caller
    ``via`` that service. No credential: anonymous. ``act_for`` of anyone else counts for nothing. In a public method everybody
    is anonymous: a stale bearer token must not keep anyone from logging in.

    :param doors: the services whose word on a client's address is believed.
    :param edge: charges calls without a service token that holds, before anything else is verified; None: they are free.
    """

    def __init__(
        self, users: UserTokens, services: ServiceCallers, doors: Collection[str] = (), edge: Edge | None = None
    ) -> None:
        self._users = users
        self._services = services
        self._doors = frozenset(doors)
        self._edge = edge
        self._through: dict[tuple[str, str], tuple[Principal, Principal]] = {}

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that knows its caller, or refuses it."""
        access, callers = method.access, self._services.of(method)

        async def public(data: bytes, context: Context) -> bytes:
            call = _call(context)
            service = await self._service(call, context, callers)
            if service:
                call.principal = ANONYMOUS.with_via(service)
            elif self._edge is not None:
                await self._edge.charge_address(call.client_address)
            return await inner(data, context)

        async def behaviour(data: bytes, context: Context) -> bytes:
            await self._identify(_call(context), context, access, callers)
            return await inner(data, context)

        return public if access is RpcAccess.PUBLIC else behaviour

    async def _identify(self, call: Call, context: Context, access: RpcAccess, callers: MethodCallers) -> None:
        """Fill the call, or refuse it."""
        authorization = call.metadata.get(AUTHORIZATION)
        service = await self._service(call, context, callers)
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
            set_service(call, service)
        if access is RpcAccess.AUTHENTICATED and call.principal.is_anonymous:
            raise UnauthenticatedError

    async def _service(self, call: Call, context: Context, callers: MethodCallers) -> str:
        """Return which service calls, or nothing; note where the client is. One that only says so is charged for the look."""
        if call.repeated:
            refuse_repeated(call)
        try:
            service = callers.verify(call, context)
        except ServiceTokenInvalidError:
            if self._edge is not None:
                await self._edge.charge_address(address_of_peer(context.peer()))
            raise
        set_client(call, service, context, self._doors)
        if service:
            set_depth(call)
        return service

    async def _admit(self, call: Call, authorization: str | bytes | None, edge: Edge) -> None:
        """Charge a caller who is not a service: guessing must never reach the check of a signature uncharged."""
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


def _call(context: Context) -> Call:
    """Return the call; begun here where no trace interceptor stands before."""
    call = current_call.get()
    if call is None:
        pairs: Any = context.invocation_metadata() or ()
        call = Call(metadata=dict(pairs), repeated=repeated(pairs))
        current_call.set(call)
    return call


def _refused(authorization: str | bytes | None) -> StylobateError:
    if authorization:
        return PermissionDeniedError("Only services of the platform may call this.")
    return UnauthenticatedError("A service token is needed.")
