"""Which service calls: its token, whether it is for us, and whether that service may call the method."""

from collections.abc import Callable, Collection, Mapping
from time import monotonic
from typing import Protocol

from stylobate.errors import PermissionDeniedError, TokenInvalidError, UnauthenticatedError
from stylobate.logs import get_logger
from stylobate.rpc.call import ACT_FOR, AUTHORIZATION, OWN_NAME, OWN_NAME_SAID, SERVICE_TOKEN, Call
from stylobate.rpc.method import Context, Method, RpcAccess
from stylobate.service_rights import ServiceRights, callers_of
from stylobate.telemetry import counter

_SAY_EVERY_S = 1.0
_log = get_logger("security")


class ServiceTokens(Protocol):
    """What is used of :class:`stylobate.identity.ServiceIdentity`."""

    def verify(self, token: str, audiences: Collection[str] = ()) -> str:
        """Return the name of the service that signed the token for one of the audiences; raises TokenInvalidError."""


class ServiceTokenInvalidError(UnauthenticatedError):
    """A service token that does not hold here."""

    reason = "SERVICE_TOKEN_INVALID"
    default_detail = "The service token is not valid here."
    cure = "Leave `stylobate-service-token` out: only services of the platform send one. Between services: see the security log."


class ServiceNotAllowedError(PermissionDeniedError):
    """A service called what only others may call."""

    reason = "SERVICE_NOT_ALLOWED"
    default_detail = "This service may not call this method."
    cure = "A service says in its `spec.py` what it calls; that is installed beside whom it calls."


class ServiceCallers:
    """Verifies service tokens for every method of a process.

    :param hosted: the services of this process: whom a token may be for where several serve a method.
    :param rights: what each service may call; None: everything.
    """

    def __init__(
        self, tokens: ServiceTokens, hosted: Collection[str] = (), rights: Mapping[str, ServiceRights] | None = None
    ) -> None:
        self._tokens = tokens
        self._hosted = frozenset(hosted)
        self._rights = rights
        self._refused = counter("service_calls_refused", "Calls of services that were refused, by reason.", ("reason",))
        self._say_at = 0.0
        self._unsaid = 0

    def of(self, method: Method) -> Callable[[Call, Context], str]:
        """Return what tells which service calls a method, empty where none does.

        It raises ServiceTokenInvalidError for one that does not prove to be a service, ServiceNotAllowedError for one that may
        not call the method.
        """
        name, audiences = method.full_name, method.audiences(self._hosted)
        own, through = self.allowed(method)
        verify = self._tokens.verify

        def service_of(call: Call, context: Context) -> str:
            metadata, handed_on = call.metadata, call.handed_on
            token = metadata.get(SERVICE_TOKEN) if handed_on is None else handed_on.service_token
            if token is None:
                return ""
            try:
                service = verify(token if isinstance(token, str) else "", audiences)
            except TokenInvalidError as error:
                reason = ServiceTokenInvalidError.reason
                self._say("service_token_refused", reason, method=name, peer=context.peer(), why=error.detail)
                raise ServiceTokenInvalidError from error
            if handed_on is not None:
                is_own = handed_on.is_own
            else:
                acts = bool(metadata.get(ACT_FOR)) or metadata.get(OWN_NAME) == OWN_NAME_SAID
                is_own = acts and not metadata.get(AUTHORIZATION)
            allowed = own if is_own else through
            if allowed is not None and service not in allowed:
                facts = {"service": service, "method": name, "peer": context.peer(), "in_own_name": str(is_own).lower()}
                self._say("service_call_refused", ServiceNotAllowedError.reason, **facts)
                raise ServiceNotAllowedError(metadata={"service": service, "method": name.lstrip("/")})
            return service

        return service_of

    def proof(self, method: Method) -> tuple[Callable[[str, Collection[str]], str], frozenset[str]]:
        """Return what verifies service tokens, and whom those for a method may be for."""
        return self._tokens.verify, method.audiences(self._hosted)

    def allowed(self, method: Method) -> tuple[frozenset[str] | None, frozenset[str] | None]:
        """Return the services that may call a method in their own name, and those that may for somebody; None: all."""
        own, through = (None, None) if self._rights is None else callers_of(method.full_name, self._rights)
        if method.access is RpcAccess.PUBLIC:  # whom it is called for does not matter there
            own = through = None if own is None or through is None else own | through
        return own, through

    def _say(self, event: str, reason: str, **facts: str) -> None:
        """Count a refusal and log it, a line a second at most: who sends junk must not fill the log."""
        self._refused.labels(reason).inc()
        now = monotonic()
        if now < self._say_at:
            self._unsaid += 1
            return
        _log.error(event, **facts, **({"unsaid": self._unsaid} if self._unsaid else {}))
        self._say_at, self._unsaid = now + _SAY_EVERY_S, 0
