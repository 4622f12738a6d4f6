"""The pipeline that every call passes, outermost first: the call as such, then who calls."""

from collections.abc import Collection, Mapping

from stylobate.rpc.interceptors.call import CallInterceptor
from stylobate.rpc.interceptors.identity import IdentityInterceptor, UserTokens
from stylobate.rpc.interceptors.metrics import RpcMetrics
from stylobate.rpc.interceptors.service_caller import ServiceCallers, ServiceTokens
from stylobate.rpc.method import Edge, Interceptor
from stylobate.service_rights import ServiceRights

__all__ = ["CallInterceptor", "IdentityInterceptor", "RpcMetrics", "ServiceCallers", "standard_interceptors"]


def standard_interceptors(
    users: UserTokens,
    services: ServiceTokens,
    *,
    hosted: Collection[str] = (),
    rights: Mapping[str, ServiceRights] | None = None,
    doors: Collection[str] = (),
    edge: Edge | None = None,
    sample_ratio: float = 0.0,
    trust_traces: bool = False,
    metrics: RpcMetrics | None = None,
) -> tuple[Interceptor, ...]:
    """Return the pipeline; what the arguments are for stand with its steps.

    :param users: verifies bearer tokens (:class:`stylobate.identity.TokenVerifier`).
    :param services: verifies service tokens (:class:`stylobate.identity.ServiceIdentity`).
    """
    identity = IdentityInterceptor(users, ServiceCallers(services, hosted, rights), doors, edge)
    return (
        CallInterceptor(
            services, hosted=hosted, sample_ratio=sample_ratio, trust_clients=trust_traces, metrics=metrics, identity=identity
        ),
    )
