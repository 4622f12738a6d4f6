"""How far an RPC is open. Every method of a servicer says it; nothing is open by default."""

from enum import StrEnum


class RpcAccess(StrEnum):
    """Who may call a method, before the manager behind it decides more finely."""

    PUBLIC = "public"
    """Anyone; credentials are not looked at (login, JWKS)."""
    OPTIONAL = "optional"
    """Anyone; a bearer token that is present is verified, and a bad one is refused."""
    AUTHENTICATED = "authenticated"
    """A verified bearer token, or a service in its own name."""
    SERVICE = "service"
    """A verified service token beside whatever else there is."""
