"""Real gRPC servers: TCP and unix sockets, health, reflection, a clean context and a graceful end."""

import asyncio
from collections.abc import Sequence
from contextvars import Context as EmptyContext
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection as reflecting
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from stylobate.rpc.channel import MAX_METADATA_BYTES
from stylobate.rpc.method import MAX_MESSAGE_BYTES, Edge
from stylobate.rpc.mixed import RelayDoor, listening_at
from stylobate.rpc.mux import MuxServer
from stylobate.rpc.open_streams import Health, OpenStreams, Reflection
from stylobate.rpc.servicers import Servicers
from stylobate.tls import TlsSettings

MAX_CONNECTION_AGE = timedelta(seconds=30)
"""After which a client has to connect anew: only so does a client of a headless service find new replicas."""
GRACE = timedelta(seconds=10)
MAX_STREAMS_PER_CONNECTION = 1024
MAX_CALLS = 8192
"""Of a process. One whose request does not come holds some 17 KiB, until its connection is too old."""
_OURS_TO_END_S = 3600.0
"""gRPC ends what is left without a word when its grace is over, so it gets one that is longer than ours."""
_REQUEST_S = 1.0
"""What a request that has begun to arrive is given when the server stops."""
_HAND_OVER_S = 2.0
"""In which clients of a server that stops look for another process, at most half of its grace. Until then it serves as before."""
_INSIDE = "127.0.0.1:0"
_SOCKET_MODE = 0o600
"""Of unix sockets: who may speak without TLS is who runs the platform."""


class GrpcServer:
    """A ``grpc.aio`` server that starts in a clean context and tells its health service when it ends."""

    def __init__(
        self, inner: grpc.aio.Server, servicers: Servicers, grace: timedelta, health_servicer: Health, mux: MuxServer | None
    ) -> None:
        self._inner = inner
        self.mux = mux
        """Where many calls share a stream; None: nowhere."""
        self._servicers = servicers
        self._grace = grace
        self._services = ("", *servicers.services)
        self.health = health_servicer
        self.reuse_port = False
        self.ports: dict[str, int] = {}
        """The port behind each address; 1 for a unix socket."""
        self.doors: list[RelayDoor] = []
        """In front of addresses that take plain text and TLS."""

    async def start(self) -> None:
        """Serve, and say NOT_SERVING until :meth:`set_serving` says otherwise.

        Handlers get the context of whoever starts the server, so it is started from an empty one.

        :raises RuntimeError: streams cannot be listened for.
        """
        if self.mux is not None:
            try:
                await self.mux.start(tuple(self.ports), reuse_port=self.reuse_port)
            except OSError as error:
                raise RuntimeError(f"streams cannot be listened for: {error}") from error
        self._servicers.handlers.begin_streams()
        await self.set_serving(is_serving=False)
        await asyncio.get_running_loop().create_task(self._inner.start(), context=EmptyContext())
        for door in self.doors:
            door.start()

    async def set_serving(self, *, is_serving: bool) -> None:
        """Tell clients of the health service whether to send calls here: the process's readiness, and nothing else."""
        status = health_pb2.HealthCheckResponse
        for service in self._services:
            await self.health.set(service, status.SERVING if is_serving else status.NOT_SERVING)

    async def stop(self, grace: float | None = None) -> None:
        """Let clients go elsewhere, accept no more calls, wait for those under way, then end what is left, saying which.

        One that is cancelled ends everything at once.

        :param grace: seconds for all of it; None: what the server was built with.
        """
        grace_s = self._grace.total_seconds() if grace is None else grace
        end = asyncio.get_running_loop().time() + grace_s
        draining: asyncio.Future[None] | None = None
        try:
            await self.health.enter_graceful_shutdown()
            if self.mux is not None:
                await self.mux.hand_over(min(grace_s / 2, _HAND_OVER_S))
            for door in self.doors:
                door.close()
            self._servicers.handlers.end_streams()  # not before: their readers would come back to this process
            draining = asyncio.ensure_future(self._drain(grace_s))
            await self._wait_for(draining, end)
            if not draining.done():
                self._servicers.handlers.cut_off()
        finally:
            await self._inner.stop(None)
            if self.mux is not None:
                await self.mux.stop()
            if draining is not None:
                draining.cancel()
            for door in self.doors:
                door.close()
                await door.end()

    async def _drain(self, grace_s: float) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._inner.stop(grace_s + _OURS_TO_END_S))
            if self.mux is not None:
                group.create_task(self.mux.drain())

    async def _wait_for(self, draining: "asyncio.Future[None]", end: float) -> None:
        """Wait for the handlers under way, to a time of the loop and no longer: gRPC also counts calls that reach none.

        Their request never comes, or the call arrived just when the server stopped, which gRPC neither serves nor refuses then.
        """
        loop = asyncio.get_running_loop()
        while (left := end - loop.time()) > 0:
            if (await asyncio.wait((draining,), timeout=min(left, _REQUEST_S)))[0] or not self._is_busy:
                return

    @property
    def _is_busy(self) -> bool:
        return self._servicers.handlers.are_busy or (self.mux is not None and self.mux.is_answering)


def build_server(
    servicers: Servicers,
    *,
    addresses: Sequence[str],
    tls: TlsSettings | None = None,
    reflection: bool = False,
    max_connection_age: timedelta = MAX_CONNECTION_AGE,
    grace: timedelta = GRACE,
    reuse_port: bool = False,
    max_streams: int = MAX_STREAMS_PER_CONNECTION,
    max_calls: int = MAX_CALLS,
    edge: Edge | None = None,
    mux_port: int | None = None,
    is_mixed: bool = False,
) -> GrpcServer:
    """Return a server for everything registered so far; ``start`` it, then find its ports in ``ports``. Needs a running loop.

    :param addresses: ``host:port`` (0 for a free port) and ``unix:/path``.
    :param tls: None: no encryption. Not used for unix sockets, which the file system guards.
    :param reflection: whether anyone may ask for the contracts (development).
    :param grace: what calls under way are given when a connection is too old and when the server stops.
    :param reuse_port: whether other processes may listen on the same ports (workers).
    :param max_streams: calls that a connection may have under way; further ones wait at its other end.
    :param max_calls: calls that the server has under way, also those whose request has not come yet; more are refused.
    :param edge: charges streams that strangers open outside of the pipeline.
    :param mux_port: where many calls share a stream (:mod:`stylobate.rpc.mux`), beside each address; 0: any port, which clients
        are told; None: nowhere. Beside a unix socket it is one more.
    :param is_mixed: whether what comes without TLS is served as well, where there is TLS. Calls by plain gRPC seem to come from
        127.0.0.1 then.
    :raises RuntimeError: an address is taken or cannot be listened on.
    :raises OSError: a TLS file cannot be read.
    """
    mux = None
    if mux_port is not None:
        mux = MuxServer(
            servicers,
            port=mux_port,
            tls=None if tls is None else tls.server_context(),
            is_mixed=is_mixed,
            max_age=max_connection_age,
            grace=grace,
            calls_per_stream=max_streams,
            max_calls=max_calls,
        )
    inner = grpc.aio.server(
        handlers=(servicers.generic_handler(), *(() if mux is None else (mux,))),
        options=[
            *server_options(max_connection_age, grace, reuse_port=reuse_port),
            ("grpc.max_concurrent_streams", max_streams),
        ],
        maximum_concurrent_rpcs=max_calls,
    )
    streams = OpenStreams(edge)
    server = GrpcServer(inner, servicers, grace, Health(streams), mux)
    server.reuse_port = reuse_port
    health_pb2_grpc.add_HealthServicer_to_server(server.health, inner)
    if reflection:
        names = (*servicers.services, health.SERVICE_NAME, reflecting.SERVICE_NAME)
        add_ServerReflectionServicer_to_server(Reflection(names, streams), inner)  # type: ignore[no-untyped-call]
    credentials = None if tls is None else tls.server_credentials()
    for address in addresses:
        is_file = address.startswith("unix:")
        if credentials is None or is_file:
            server.ports[address] = inner.add_insecure_port(address)
        elif is_mixed:
            inside = inner.add_insecure_port(_INSIDE), inner.add_secure_port(_INSIDE, credentials)
            try:
                server.doors.append(RelayDoor(listening_at(address, reuse_port=reuse_port), *inside))
            except OSError as error:
                raise RuntimeError(str(error)) from error
            server.ports[address] = server.doors[-1].port
        else:
            server.ports[address] = inner.add_secure_port(address, credentials)
        if is_file:
            Path(address.removeprefix("unix:")).chmod(_SOCKET_MODE)
    return server


def server_options(max_connection_age: timedelta, grace: timedelta, *, reuse_port: bool) -> list[tuple[str, int]]:
    """Return the options of a server; times in milliseconds as gRPC wants them."""
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_connection_age_ms", round(max_connection_age.total_seconds() * 1000)),
        ("grpc.max_connection_age_grace_ms", round(grace.total_seconds() * 1000)),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
        ("grpc.so_reuseport", int(reuse_port)),
    ]
