"""What a call's metadata say beside its tokens: believed of services, counts for nothing from anyone else."""

from collections.abc import Collection
from typing import Any

from stylobate.errors import InvalidInputError
from stylobate.identity.client_address import address_of_peer, client_address, client_agent
from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.rpc.call import (
    ACT_FOR,
    ACT_FOR_TENANT,
    AUTHORIZATION,
    CLIENT_ADDRESS,
    CLIENT_AGENT,
    HOOK_DEPTH,
    MAX_HOOK_DEPTH,
    OWN_NAME,
    SERVICE_TOKEN,
    USER_AGENT,
    Call,
    HookRecursionError,
)
from stylobate.rpc.interceptors.service_caller import OWN_NAME_SAID
from stylobate.rpc.method import Context

_ONCE = frozenset({ACT_FOR, ACT_FOR_TENANT, AUTHORIZATION, CLIENT_ADDRESS, CLIENT_AGENT, HOOK_DEPTH, OWN_NAME, SERVICE_TOKEN})
_DEPTHS = {str(depth): depth for depth in range(MAX_HOOK_DEPTH + 1)}
_MAX_TENANT = 128


class MetadataRepeatedError(InvalidInputError):
    """A metadata key that says who calls came twice: nobody may choose which one counts."""

    reason = "METADATA_REPEATED"
    default_detail = "A metadata key that may come once came more than once."
    cure = "Send each of `authorization` and `stylobate-…` once."


def refuse_repeated(call: Call) -> None:
    """Return when nothing that says who calls came more than once. Raises MetadataRepeatedError."""
    if found := call.repeated & _ONCE:
        raise MetadataRepeatedError(f"{', '.join(sorted(found))} came more than once.")


def set_service(call: Call, name: str) -> None:
    """Fill the principal of a service's call without a bearer token."""
    metadata = call.metadata
    call.act_for = _text(metadata.get(ACT_FOR))
    call.own_name = metadata.get(OWN_NAME) == OWN_NAME_SAID
    tenant = DEFAULT_TENANT
    if call.act_for:
        tenant = call.act_for_tenant = _text(metadata.get(ACT_FOR_TENANT))[:_MAX_TENANT] or DEFAULT_TENANT
    if call.act_for or call.own_name:
        call.principal = Principal(PrincipalKind.SERVICE, f"service:{name}", tenant, via=name, act_for=call.act_for)
    else:
        call.principal = ANONYMOUS.with_via(name)


def set_client(call: Call, service: str, context: Context, doors: Collection[str]) -> None:
    """Note where the client is: who calls without a service is the peer itself, and only a door speaks for a client."""
    metadata = call.metadata
    if not service:
        call.client_address = address_of_peer(context.peer())
        call.client_agent = client_agent(_text(metadata.get(USER_AGENT)))
    elif service in doors and CLIENT_ADDRESS in metadata:
        call.client_address = client_address(_text(metadata[CLIENT_ADDRESS]))
        call.client_agent = client_agent(_text(metadata.get(CLIENT_AGENT)))


def set_depth(call: Call) -> None:
    """Note how deep in hooks a service's call is: one digit. Raises HookRecursionError for anything else."""
    depth: Any = call.metadata.get(HOOK_DEPTH)
    if depth is None:
        return
    if depth not in _DEPTHS:
        raise HookRecursionError
    call.hook_depth = _DEPTHS[depth]


def _text(value: str | bytes | None) -> str:
    return value if isinstance(value, str) else ""
