"""Who is calling, how that is proven, and what they may do.

What needs cryptography or gRPC is imported from its own module: commands start without it.
"""

from stylobate.identity.client_address import ClientAddresses, client_agent, limit_key
from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal, PrincipalKind, grants

__all__ = [
    "ANONYMOUS",
    "DEFAULT_TENANT",
    "ClientAddresses",
    "Principal",
    "PrincipalKind",
    "client_agent",
    "grants",
    "limit_key",
]
