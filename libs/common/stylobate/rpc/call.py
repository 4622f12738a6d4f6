"""The call that is being served: what crosses with it and what it may use."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import grpc

from stylobate.errors import StylobateError
from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal
from stylobate.telemetry.traceparent import is_sampled

AUTHORIZATION = "authorization"
API_KEY = "x-api-key"
USER_AGENT = "user-agent"
SERVICE_TOKEN = "stylobate-service-token"  # noqa: S105  a metadata key
REQUEST_ID = "x-request-id"
TRACEPARENT = "traceparent"
ACT_FOR = "stylobate-act-for"
ACT_FOR_TENANT = "stylobate-act-for-tenant"
OWN_NAME = "stylobate-own-name"
OWN_NAME_SAID = "true"
IN_OWN_NAME = (OWN_NAME, OWN_NAME_SAID)
HOOK_DEPTH = "stylobate-hook-depth"
MODULE = "stylobate-module"
CLIENT_ADDRESS = "stylobate-client-address"
CLIENT_AGENT = "stylobate-client-agent"

MAX_HOOK_DEPTH = 3
"""How deep a hook may lie: set off by a hook that was set off by a hook. There it may look and tell, not change."""


class HookRecursionError(StylobateError):
    """Hooks that set off hooks, deeper than allowed."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "HOOK_RECURSION"
    default_detail = f"Hooks set off each other {MAX_HOOK_DEPTH} deep: that is taken for a circle, and no further change is made."
    cure = "Look for two hooks that change what the other one listens to."


@dataclass(frozen=True, slots=True)
class Cause:
    """What a change comes from, as far as its event tells: a servicer takes it from the call, managers hand it down."""

    hook_depth: int = 0
    traceparent: str = ""
    """Of a sampled trace; else empty."""
    request_id: str = ""
    """Correlation only."""

    def event_depth(self) -> int:
        """Return the depth of an event of this cause. Raises HookRecursionError where there may be none any more.

        So a circle of hooks ends at the write, and hooks that only look or tell others (pushes) are delivered at every depth.
        """
        if self.hook_depth >= MAX_HOOK_DEPTH:
            raise HookRecursionError
        return self.hook_depth


NO_CAUSE = Cause()
"""Of what begins here."""


@dataclass(slots=True)
class Call:
    """One call as the server's interceptors found it. Everything here came with the call's metadata and was verified."""

    request_id: str = ""
    """Correlation only."""
    traceparent: str = ""
    """W3C trace context, or empty."""
    authorization: str = ""
    """The caller's ``Bearer …``, passed on unchanged to the services called in turn."""
    principal: Principal = ANONYMOUS
    deadline: float = 0.0
    """On the loop's clock (``loop.time()``); 0 means none."""
    hook_depth: int = 0
    """How many hooks this call is under."""
    act_for: str = ""
    """Passed on for work in a service's own name."""
    act_for_tenant: str = ""
    """The tenant of the one it acts for; empty: the default one."""
    own_name: bool = False
    """Whether a service speaks for itself. A call without a bearer token that does not say so is an anonymous caller's: a
    gateway that passes nobody's request on must not lend it the gateway's own rights."""
    client_address: str = ""
    """Where the client is, as :mod:`stylobate.identity.client_address` writes it: what a door says, or of a call without a
    service token the peer. Empty where a service calls that is not a door, or where one works in its own name."""
    client_agent: str = ""
    """The client's user agent, printable ASCII; empty when it is not known."""
    repeated: frozenset[str] = frozenset()
    """Metadata keys that came more than once; of each one value stands in ``metadata``."""
    module: str = ""
    """Whose code runs: said with the calls that it makes. Never passed on from a call that came: that is in the principal."""
    metadata: Mapping[str, str | bytes] = field(default_factory=dict)
    """Everything that came with the call, as it came: nothing in here is verified. Of a call of this process: nothing."""
    handed_on: "HandedOn | None" = None
    """What a call of this process came with instead."""

    @property
    def cause(self) -> Cause:
        """What a change that this call makes comes from."""
        return Cause(self.hook_depth, self.traceparent if is_sampled(self.traceparent) else "", self.request_id)

    def running(self, module: str, deadline: float) -> "Call":
        """Return the same call for code of the module, with a deadline; by hand, since ``replace`` costs eight times as much."""
        return Call(
            self.request_id,
            self.traceparent,
            self.authorization,
            self.principal,
            deadline,
            self.hook_depth,
            self.act_for,
            self.act_for_tenant,
            self.own_name,
            self.client_address,
            self.client_agent,
            self.repeated,
            module,
            self.metadata,
            self.handed_on,
        )

    def pass_on(self, metadata: dict[str, str | bytes]) -> None:
        """Add the metadata that goes with calls made for this one.

        That is the caller's bearer token, or without one whom it acts for; request id, trace, hook depth, the module whose
        code runs, the client's address and agent.
        """
        if self.authorization:
            metadata[AUTHORIZATION] = self.authorization
        elif self.act_for or self.own_name:
            self._tell_for_whom(metadata)
        if self.request_id:
            metadata[REQUEST_ID] = self.request_id
        if self.traceparent:
            metadata[TRACEPARENT] = self.traceparent
        if self.module:
            metadata[MODULE] = self.module
        if self.hook_depth:
            metadata[HOOK_DEPTH] = str(self.hook_depth)
        if self.client_address:
            metadata[CLIENT_ADDRESS] = self.client_address
            if self.client_agent:
                metadata[CLIENT_AGENT] = self.client_agent

    def _tell_for_whom(self, metadata: dict[str, str | bytes]) -> None:
        if not self.act_for:
            metadata[OWN_NAME] = OWN_NAME_SAID
            return
        metadata[ACT_FOR] = self.act_for
        if self.act_for_tenant not in {"", DEFAULT_TENANT}:
            metadata[ACT_FOR_TENANT] = self.act_for_tenant


class HandedOn:
    """What goes with a call that stays in its process: the call that it is made for, in the place of metadata that tell of it.

    The form of what stands there was looked at when it came. Who calls is verified as ever: the service's token, its rights, and
    that the user's token still holds.
    """

    __slots__ = ("authorization", "call", "is_own", "service_token")

    def __init__(self, service_token: str, call: Call | None) -> None:
        self.service_token = service_token
        self.call = call
        """None: the service calls outside of any, in its own name."""
        if call is None:
            self.authorization, self.is_own = "", True
        else:
            self.authorization = call.authorization
            self.is_own = not call.authorization and (bool(call.act_for) or call.own_name)

    def metadata(self) -> dict[str, str | bytes]:
        """Return what goes along where the call leaves its process."""
        return passed_on(self.service_token, self.call)


def passed_on(service_token: str, call: Call | None) -> dict[str, str | bytes]:
    """Return the metadata of a call that is made for another one.

    :param service_token: empty: none goes along. :param call: the call being served; None outside of any.
    """
    metadata: dict[str, str | bytes] = {}
    if service_token:
        metadata[SERVICE_TOKEN] = service_token
    if call is None:
        metadata[OWN_NAME] = OWN_NAME_SAID
    else:
        call.pass_on(metadata)
    return metadata


current_call: ContextVar[Call | None] = ContextVar("stylobate_call", default=None)
"""The call being served in this context; None outside of any."""


def sampled_trace() -> str:
    """Return the traceparent of the call being served if its trace is sampled; else, and outside of any, nothing."""
    served = current_call.get()
    return served.traceparent if served is not None and is_sampled(served.traceparent) else ""


def call() -> Call:
    """Return the call being served, or an empty one outside of any (start-up, background work)."""
    return current_call.get() or Call()
