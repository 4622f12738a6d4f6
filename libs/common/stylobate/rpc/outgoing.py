"""What goes with every call that a service makes."""

from collections.abc import Sequence
from typing import Any, Protocol

from stylobate.identity.principal import DEFAULT_TENANT
from stylobate.rpc.call import (
    ACT_FOR,
    ACT_FOR_TENANT,
    AUTHORIZATION,
    CLIENT_ADDRESS,
    CLIENT_AGENT,
    HOOK_DEPTH,
    OWN_NAME,
    REQUEST_ID,
    SERVICE_TOKEN,
    TRACEPARENT,
    Call,
)
from stylobate.rpc.method import Metadata

_IN_OWN_NAME = (OWN_NAME, "true")


class OwnToken(Protocol):
    """What makes a service's tokens for another: ``ServiceIdentity.to``."""

    def token(self) -> str:
        """Return a token that proves this service; made without a round trip."""


class Outgoing:
    """Makes the metadata: this service's token, and what the call being served brought along.

    That is the caller's bearer token, request id, trace, hook depth, the client's address and agent, and without a bearer
    token whom it acts for. Outside of any call the service speaks in its own name; inside of one only where that call does.
    """

    def __init__(self, identity: OwnToken | None) -> None:
        self._identity = identity

    def metadata(self, call: Call | None, explicit: Sequence[tuple[str, str | bytes]] = ()) -> Metadata:
        """Return the metadata of a call.

        :param call: the call being served; None outside of any.
        :param explicit: wins over what stands here under the same key.
        """
        pairs: list[tuple[str, Any]] = [] if self._identity is None else [(SERVICE_TOKEN, self._identity.token())]
        if call is None:
            pairs.append(_IN_OWN_NAME)
        else:
            _add(pairs, call)
        if not explicit:
            return tuple(pairs)
        given = tuple((key, value) for key, value in explicit)
        keys = {key for key, _ in given}
        return (*(pair for pair in pairs if pair[0] not in keys), *given)


def _add(pairs: list[tuple[str, Any]], call: Call) -> None:
    if call.authorization:
        pairs.append((AUTHORIZATION, call.authorization))
    elif call.act_for:
        pairs.append((ACT_FOR, call.act_for))
        if call.act_for_tenant not in {"", DEFAULT_TENANT}:
            pairs.append((ACT_FOR_TENANT, call.act_for_tenant))
    elif call.own_name:
        pairs.append(_IN_OWN_NAME)
    if call.request_id:
        pairs.append((REQUEST_ID, call.request_id))
    if call.traceparent:
        pairs.append((TRACEPARENT, call.traceparent))
    if call.hook_depth:
        pairs.append((HOOK_DEPTH, str(call.hook_depth)))
    if call.client_address:
        pairs.append((CLIENT_ADDRESS, call.client_address))
        if call.client_agent:
            pairs.append((CLIENT_AGENT, call.client_agent))
