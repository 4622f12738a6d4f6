"""Who is calling, how that is proven, and what they may do."""

from stylobate.identity.access import Access
from stylobate.identity.client_address import ClientAddresses, client_agent, limit_key
from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal, PrincipalKind, grants
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.identity.service_rights import OPERATOR, OPERATOR_RIGHTS, ServiceRights
from stylobate.identity.verifier import TokenVerifier

__all__ = [
    "ANONYMOUS",
    "DEFAULT_TENANT",
    "OPERATOR",
    "OPERATOR_RIGHTS",
    "Access",
    "ClientAddresses",
    "Principal",
    "PrincipalKind",
    "ServiceIdentity",
    "ServiceRights",
    "TokenVerifier",
    "client_agent",
    "generate_service_keys",
    "grants",
    "limit_key",
]
