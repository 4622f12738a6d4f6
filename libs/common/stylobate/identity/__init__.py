"""Who is calling, how that is proven, and what they may do."""

from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal, PrincipalKind

__all__ = ["ANONYMOUS", "DEFAULT_TENANT", "Principal", "PrincipalKind"]
