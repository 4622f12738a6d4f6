"""Who calls: verifies the tokens and keys that came with a call and holds each method to its access.

What a call's metadata say beside its tokens is believed of services, and counts for nothing from anyone else.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, TypeAlias

from stylobate.bounded_dict import BoundedDict
from stylobate.errors import InvalidInputError, PermissionDeniedError, StylobateError, TokenInvalidError, UnauthenticatedError
from stylobate.identity.api_key import the_credential
from stylobate.identity.api_key_proofs import refuse_elsewhere
from stylobate.identity.client_address import address_of_peer, client_address, client_agent
from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.rpc.call import (
    ACT_FOR,
    ACT_FOR_TENANT,
    API_KEY,
    AUTHORIZATION,
    CLIENT_ADDRESS,
    CLIENT_AGENT,
    HOOK_DEPTH,
    MAX_HOOK_DEPTH,
    MODULE,
    OWN_NAME,
    OWN_NAME_SAID,
    SERVICE_TOKEN,
    USER_AGENT,
    Call,
    HookRecursionError,
    current_call,
)
from stylobate.rpc.interceptors.service_caller import ServiceCallers, ServiceTokenInvalidError
from stylobate.rpc.method import Behaviour, Context, Edge, Method, Passing, RpcAccess

Admitting: TypeAlias = Callable[[Call, Context], Awaitable[None] | None]
"""Fills a call or refuses it; where that takes more than a look into memory, the caller awaits what is returned."""
_BEARER = "bearer "
_MAX_KEPT = 10_000
_ONCE = frozenset(
    {ACT_FOR, ACT_FOR_TENANT, API_KEY, AUTHORIZATION, CLIENT_ADDRESS, CLIENT_AGENT, HOOK_DEPTH, MODULE, OWN_NAME, SERVICE_TOKEN}
)
_DEPTHS: dict[object, int] = {str(depth): depth for depth in range(MAX_HOOK_DEPTH + 1)}
_MAX_TENANT = 128
_MAX_SERVICES = 64


class MetadataRepeatedError(InvalidInputError):
    """A metadata key that says who calls came twice: nobody may choose which one counts."""

    reason = "METADATA_REPEATED"
    default_detail = "A metadata key that may come once came more than once."
    cure = "Send each of `authorization` and `stylobate-…` once."


class MetadataTooLongError(InvalidInputError):
    """A metadata value that says who calls is too long to be kept. It is never cut: two callers could become one."""

    reason = "METADATA_TOO_LONG"
    default_detail = "A metadata value is too long."
    cure = f"Send at most {_MAX_TENANT} characters in `{ACT_FOR_TENANT}`."


class UserTokens(Protocol):
    """What is used of :class:`stylobate.identity.TokenVerifier`."""

    def cached(self, token: str) -> Principal | None:
        """Return whose token it is, if it has been verified before. Raises TokenRevokedError."""

    async def verify(self, token: str) -> Principal:
        """Return whose token it is. Raises an UnauthenticatedError, or UnavailableError while auth's keys are not known."""


class _Known(NamedTuple):
    """A user for whom a service calls."""

    token: str
    authorization: str
    principal: Principal
    """Whom the token names."""
    through: Principal
    """The same, coming through the service and the module."""


class IdentityInterceptor:
    """Fills principal, authorization, act_for, hook depth and the client's address and agent of the call.

    A token or API key: its subject, and beside a service token ``via`` that service. A service token alone: the service for
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
        self._through: BoundedDict[tuple[str | bytes, str, str], _Known] = BoundedDict(_MAX_KEPT)
        """By authorization, service and module, since they come again and again."""

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that knows its caller, or refuses it."""
        admit = self.admitting(method)

        async def behaviour(data: bytes, context: Context) -> Any:
            waiting = admit(current_call.get() or Call(), context)
            if waiting is not None:
                await waiting
            return await inner(data, context)

        return behaviour

    def admitting(self, method: Method) -> Admitting:
        """Return what fills the calls of a method, or refuses them."""
        access, service_of, edge, users = method.access, self._services.of(method), self._edge, self._users
        doors, set_known = self._doors, self._set_known

        def admit(call: Call, context: Context) -> Awaitable[None] | None:
            if call.repeated:
                refuse_repeated(call)
            handed_on = call.handed_on
            said = call.metadata.get(AUTHORIZATION) if handed_on is None else handed_on.authorization
            authorization = None if access is RpcAccess.PUBLIC else said
            try:
                service = service_of(call, context)
            except ServiceTokenInvalidError as error:  # who only says that it is a service is charged for the look
                if edge is None:
                    raise
                return _charged_and_refused(edge, context, error)
            if not service:
                return self._admit(call, context, authorization, access)
            is_door = service in doors
            module = (
                take_metadata(call, is_door=is_door) if handed_on is None else take_over(call, handed_on.call, is_door=is_door)
            )
            if authorization:
                if set_known(call, authorization, service, module):
                    return None
                token = _bearer(authorization)
                principal = users.cached(token)
                if principal is None:
                    return self._verify(call, token, service, module, access)
                self._set_user(call, token, principal, service, module)
            else:
                set_service(call, service, module, is_public=access is RpcAccess.PUBLIC)
            if access is RpcAccess.AUTHENTICATED and call.principal.is_anonymous:
                raise UnauthenticatedError
            return None

        return admit

    def passing(self, method: Method) -> Passing | None:
        """Return what admits calls of a method by plain values: as those are that a service makes for somebody.

        Only of methods that are open to all, and of callers who are known by heart.
        """
        if method.access is not RpcAccess.OPTIONAL:
            return None
        (verify, audiences), (_, allowed) = self._services.proof(method), self._services.allowed(method)
        doors, set_known = self._doors, self._set_known

        def admit(token: str, caller: Call, deadline: float) -> Call | None:
            authorization = caller.authorization
            if not authorization and (caller.act_for or caller.own_name):
                return None  # in the service's own name
            service = verify(token, audiences)
            if allowed is not None and service not in allowed:
                return None
            call = Call(caller.request_id, caller.traceparent, deadline=deadline)
            module = take_over(call, caller, is_door=service in doors)
            if not authorization:
                set_service(call, service, module)
            elif not set_known(call, authorization, service, module):
                return None
            return call

        return admit

    def _set_known(self, call: Call, authorization: str | bytes, service: str, module: str) -> bool:
        """Fill a service's call for somebody who is known by heart, and whose token still holds."""
        known = self._through.get((authorization, service, module))
        if known is None or self._users.cached(known.token) is not known.principal:
            return False
        call.authorization, call.principal = known.authorization, known.through
        return True

    async def _verify(self, call: Call, token: str, service: str, module: str, access: RpcAccess) -> None:
        """Take a service's call for a user whose token is not known by heart."""
        self._set_user(call, token, await self._users.verify(token), service, module)
        if access is RpcAccess.AUTHENTICATED and call.principal.is_anonymous:
            raise UnauthenticatedError

    async def _admit(self, call: Call, context: Context, authorization: str | bytes | None, access: RpcAccess) -> None:
        """Take a caller who is not a service, and charge it: guessing must never reach the check of a signature uncharged."""
        address = call.client_address = address_of_peer(context.peer())
        call.client_agent = client_agent(_text(call.metadata.get(USER_AGENT)))
        edge = self._edge
        try:
            if API_KEY in call.metadata and access is not RpcAccess.PUBLIC:
                authorization = the_credential(authorization, call.metadata[API_KEY])
            known = self._users.cached(_bearer(authorization)) if authorization else None
        except UnauthenticatedError:  # malformed or revoked: a look like any other
            if edge is not None:
                await edge.charge(address)
            raise
        if edge is not None:
            await edge.charge(address, known or ANONYMOUS)
        if authorization:
            token = _bearer(authorization)
            self._set_user(call, token, self._users.cached(token) or await self._users.verify(token))
            if known is None and edge is not None:
                await edge.charge(address, call.principal, is_address_charged=True)
            refuse_elsewhere(call.principal, address)
        if access is RpcAccess.SERVICE:
            raise _refused(authorization)
        if access is RpcAccess.AUTHENTICATED and call.principal.is_anonymous:
            raise UnauthenticatedError

    def _set_user(self, call: Call, token: str, principal: Principal, service: str = "", module: str = "") -> None:
        authorization = f"Bearer {token}"
        if service:
            known = self._through.get((authorization, service, module))
            if known is None or known.principal is not principal:
                known = _Known(token, authorization, principal, principal.with_via(service, module))
                self._through.put((authorization, service, module), known)
            principal = known.through
        call.authorization = authorization
        call.principal = principal


async def _charged_and_refused(edge: Edge, context: Context, error: ServiceTokenInvalidError) -> None:
    await edge.charge(address_of_peer(context.peer()))
    raise error


def refuse_repeated(call: Call) -> None:
    """Return when nothing that says who calls came more than once. Raises MetadataRepeatedError."""
    if found := call.repeated & _ONCE:
        raise MetadataRepeatedError(f"{', '.join(sorted(found))} came more than once.")


def set_service(call: Call, name: str, module: str, *, is_public: bool = False) -> None:
    """Fill the principal of a service's call without a bearer token. Raises MetadataTooLongError."""
    if is_public:  # what is open to all lends nothing to what it calls
        call.act_for, call.own_name = "", False
        call.principal = _anonymous(name, "")
    elif call.act_for:
        if len(call.act_for_tenant) > _MAX_TENANT:
            raise MetadataTooLongError(f"{ACT_FOR_TENANT} is longer than {_MAX_TENANT} characters.")
        kind, own = PrincipalKind.SERVICE, f"service:{name}"
        call.principal = Principal(kind, own, tenant=call.act_for_tenant, via=name, act_for=call.act_for, module=module)
    else:
        call.principal = _service(name, module) if call.own_name else _anonymous(name, module)


@lru_cache(maxsize=_MAX_SERVICES)
def _service(name: str, module: str) -> Principal:
    return Principal(PrincipalKind.SERVICE, f"service:{name}", via=name, module=module)


@lru_cache(maxsize=_MAX_SERVICES)
def _anonymous(name: str, module: str) -> Principal:
    """Return the caller of whom a service says nothing."""
    return ANONYMOUS.with_via(name, module)


def take_metadata(call: Call, *, is_door: bool) -> str:
    """Note what a service's call says: where a door says that the client is, for whom it is without a token, its depth in hooks.

    Returns the module whose code makes it. Raises HookRecursionError: it is too deep, or not one digit.
    """
    metadata = call.metadata
    if is_door and CLIENT_ADDRESS in metadata:
        call.client_address = client_address(_text(metadata[CLIENT_ADDRESS]))
        call.client_agent = client_agent(_text(metadata.get(CLIENT_AGENT)))
    if HOOK_DEPTH in metadata:
        depth = _DEPTHS.get(metadata[HOOK_DEPTH])
        if depth is None:
            raise HookRecursionError
        call.hook_depth = depth
    if not metadata.get(AUTHORIZATION):
        call.act_for = _text(metadata.get(ACT_FOR))
        call.own_name = metadata.get(OWN_NAME) == OWN_NAME_SAID
        if call.act_for:
            call.act_for_tenant = _text(metadata.get(ACT_FOR_TENANT)) or DEFAULT_TENANT
    return _text(metadata.get(MODULE))


def take_over(call: Call, caller: Call | None, *, is_door: bool) -> str:
    """Fill a call of this process from the one that it is made for; return the module whose code makes it.

    :param caller: None: it is made outside of any. :raises HookRecursionError: it is too deep in hooks.
    """
    if caller is None:
        call.own_name = True
        return ""
    if is_door and caller.client_address:
        call.client_address, call.client_agent = caller.client_address, caller.client_agent
    call.hook_depth = caller.hook_depth
    if call.hook_depth > MAX_HOOK_DEPTH:
        raise HookRecursionError
    if not caller.authorization:
        call.act_for, call.own_name = caller.act_for, caller.own_name and not caller.act_for
        if call.act_for:
            call.act_for_tenant = caller.act_for_tenant or DEFAULT_TENANT
    return caller.module


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""


def _bearer(authorization: str | bytes) -> str:
    """Return the token. Raises TokenInvalidError."""
    if not isinstance(authorization, str) or authorization[:7].lower() != _BEARER:
        raise TokenInvalidError("The authorization is not a bearer token.")
    return authorization[7:]


def _refused(authorization: str | bytes | None) -> StylobateError:
    if authorization:
        return PermissionDeniedError("Only services of the platform may call this.")
    return UnauthenticatedError("A service token is needed.")
