"""Channels to services in other processes."""

from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
import orjson
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import MethodOptions

from stylobate.discovery.names import SystemNames, Told
from stylobate.discovery.target import Target
from stylobate.discovery.whereabouts import Whereabouts
from stylobate.resilience import CircuitBreaker
from stylobate.rpc.breaker import Guard
from stylobate.rpc.caller import GuardedChannel
from stylobate.rpc.following import FollowingChannel
from stylobate.rpc.method import MAX_MESSAGE_BYTES
from stylobate.rpc.mux import MuxChannel
from stylobate.tls import Renewed, TlsSettings

MAX_METADATA_BYTES = 64 * 1024
"""Errors travel with their details in trailing metadata; the transport's own default of 8 KiB is too small for many findings."""

_ATTEMPTS = 3
_RETRY_BUDGET = {"maxTokens": 20, "tokenRatio": 0.1}
"""Each call that fails costs a token, each that succeeds earns a tenth of one; below half of them nothing is tried again (gRFC
A6). So a target in trouble gets a tenth more calls than without retries, and not three times as many."""
_KEEPALIVE_MS = 6_000
"""More than the 5 s that servers ask for between two pings."""
_PING_TIMEOUT_MS = 3_000
"""After which a connection whose process no longer answers is given up. Said twice: a ping that measures the bandwidth has a
timeout of its own, a minute by default, and holds keepalive back for as long."""
_RECONNECT_MS = (100, 500)
_OUTLIERS = {
    "interval": "1s",
    "baseEjectionTime": "5s",
    "maxEjectionTime": "30s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {"threshold": 99, "enforcementPercentage": 100, "minimumHosts": 2, "requestVolume": 3},
    "childPolicy": [{"round_robin": {}}],
}
"""Turns over the addresses, leaving out for a while the one where every call of a second failed (gRFC A50): it is frozen. At
most half of them, since where callers ask for what is not there every call fails as well."""


def idempotent_methods(services: Iterable[str]) -> list[str]:
    """Return the methods of gRPC services whose contract says that they may be sent twice (``idempotency_level``).

    The transport tries them again when the target is unavailable. Any other never is: it may have happened.

    :param services: full names; those whose generated code is not imported here are not called here, and left out.
    """
    found = []
    for name in services:
        try:
            described = descriptor_pool.Default().FindServiceByName(name)
        except KeyError:
            continue
        found += [
            f"{name}/{method.name}"
            for method in described.methods
            if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN
        ]
    return found


def open_channel(
    target: str,
    *,
    tls: TlsSettings | None = None,
    idempotent: Iterable[str] = (),
    breaker: CircuitBreaker | None = None,
    mux: bool = False,
    whereabouts: Whereabouts | None = None,
) -> grpc.aio.Channel:
    """Return a channel; connects when first used. Needs a running loop.

    :param target: ``host:port``, ``dns:///name:port`` (every address of a headless service in turn) or ``unix:/path``.
    :param tls: None: no encryption. Not used for a unix socket, which the file system guards.
    :param idempotent: the full names of the methods (``package.Service/Method``) that may be sent more than once.
    :param breaker: of this target; None: one with the defaults.
    :param mux: whether calls with one response share a stream, where the target takes one (:mod:`stylobate.rpc.mux`).
    :param whereabouts: where the target is; None: it is looked for here.
    :raises OSError: a TLS file cannot be read.
    """
    idempotent = tuple(idempotent)
    options = channel_options(idempotent)
    place = Target.of(target)
    whereabouts = whereabouts or Whereabouts(target, Told(place) if place.fixed else SystemNames(place))
    followed = None if isinstance(whereabouts.discovery, Told | SystemNames) else whereabouts  # those gRPC finds by itself
    if target.startswith("unix:"):
        tls = None
    if tls is not None and (tls.server_name or followed is not None):
        options.append(("grpc.ssl_target_name_override", tls.server_name or place.name))

    def plain_to(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is None or address.startswith("unix:"):
            return grpc.aio.insecure_channel(address, options=options)
        return grpc.aio.secure_channel(address, credentials, options=options)

    channel: grpc.aio.Channel
    if followed is None and tls is None:
        channel = plain_to(target, None)
    else:
        credentials = _no_credentials if tls is None else Renewed(tls, tls.channel_credentials).current
        channel = FollowingChannel(target, followed, plain_to, credentials)
    guard = Guard(channel, breaker or CircuitBreaker(target))
    if not mux:
        return GuardedChannel(channel, guard)
    return GuardedChannel(MuxChannel(channel, place, whereabouts, tls=tls, idempotent=idempotent), guard)


def _no_credentials() -> None:
    """Return what a channel without encryption is opened with."""


def channel_options(idempotent: Iterable[str] = ()) -> list[tuple[str, Any]]:
    """Return the options of a channel; times in milliseconds as gRPC wants them."""
    return [
        ("grpc.service_config", orjson.dumps(service_config(idempotent)).decode()),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
        ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", _PING_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.initial_reconnect_backoff_ms", _RECONNECT_MS[0]),
        ("grpc.min_reconnect_backoff_ms", _RECONNECT_MS[0]),
        ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS[1]),
        ("grpc.dns_min_time_between_resolutions_ms", 2_000),
    ]


def service_config(idempotent: Iterable[str]) -> dict[str, Any]:
    """Return the gRPC service config: turns over the addresses, retries for the methods named."""
    names = [dict(zip(("service", "method"), name.lstrip("/").split("/"), strict=True)) for name in idempotent]
    retry = {
        "maxAttempts": _ATTEMPTS,
        "initialBackoff": "0.05s",
        "maxBackoff": "0.5s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config: dict[str, Any] = {"loadBalancingConfig": [{"outlier_detection_experimental": _OUTLIERS}]}
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": retry}]
        config["retryThrottling"] = _RETRY_BUDGET
    return config
