"""The pipeline that every call passes, outermost first: trace, metrics, errors, deadline, identity."""

from collections.abc import Collection, Mapping

from stylobate.identity.service_rights import ServiceRights
from stylobate.rpc.interceptors.deadline import DeadlineInterceptor
from stylobate.rpc.interceptors.errors import ErrorsInterceptor
from stylobate.rpc.interceptors.identity import Edge, IdentityInterceptor, UserTokens
from stylobate.rpc.interceptors.metrics import MetricsInterceptor, RpcMetrics
from stylobate.rpc.interceptors.service_caller import ServiceCallers, ServiceTokens
from stylobate.rpc.interceptors.trace import TraceInterceptor
from stylobate.rpc.method import Interceptor
from stylobate.telemetry import collector

__all__ = [
    "DeadlineInterceptor",
    "Edge",
    "ErrorsInterceptor",
    "IdentityInterceptor",
    "MetricsInterceptor",
    "RpcMetrics",
    "ServiceCallers",
    "ServiceTokens",
    "TraceInterceptor",
    "UserTokens",
    "standard_interceptors",
]


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
    """Return the pipeline.

    :param users: verifies bearer tokens (:class:`stylobate.identity.TokenVerifier`).
    :param services: verifies service tokens (:class:`stylobate.identity.ServiceIdentity`).
    :param hosted: the services of this process. :param rights: what each service may call; None: everything.
    :param doors: the services that clients come to, whose word on a client's address is believed.
    :param edge: charges calls without a service token (:class:`stylobate.clients.edge.Edge`); None: they are free.
    :param sample_ratio: the share of calls without a trace of their own that is sampled.
    :param trust_traces: whether the traceparent of others than services decides if there are spans.
    :param metrics: where calls are counted; None: the process's metrics.
    """
    return (
        TraceInterceptor(sample_ratio, services, hosted=hosted, trust_clients=trust_traces),
        MetricsInterceptor(metrics or collector("rpc_server", RpcMetrics)),
        ErrorsInterceptor(),
        DeadlineInterceptor(),
        IdentityInterceptor(users, ServiceCallers(services, hosted, rights), doors, edge),
    )
