"""Request id and trace of a call; begins the :class:`~stylobate.rpc.call.Call` that the next steps fill."""

from collections.abc import Collection, Mapping
from typing import Any

from opentelemetry.trace import SpanKind

from stylobate.errors import TokenInvalidError
from stylobate.ids import new_id
from stylobate.rpc.call import REQUEST_ID, SERVICE_TOKEN, TRACEPARENT, Call, current_call, repeated
from stylobate.rpc.interceptors.metrics import code_of
from stylobate.rpc.interceptors.service_caller import ServiceTokens
from stylobate.rpc.method import Behaviour, Context, Method
from stylobate.telemetry import decided, is_sampled, is_traceparent, new_traceparent, span

_MAX_REQUEST_ID = 128
_OUR_FAULT = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that make a server's span a failure; the others are the caller's affair (OpenTelemetry's conventions for gRPC)."""


class TraceInterceptor:
    """Accepts the caller's ``x-request-id`` and ``traceparent`` or makes them; a span only when the trace is sampled.

    A service's traceparent decides whether there is a span, and a service that brings none works for nobody (it polls, it
    wakes): no trace is begun for that. Of anybody else the trace is kept, and whether it is sampled is decided here.

    :param sample_ratio: the share of calls of others than services that is sampled, 0 to 1.
    :param services: verifies service tokens; None: nobody is one.
    :param hosted: the services of this process: whom a token may be for where several serve a method.
    :param trust_clients: whether anybody's traceparent decides.
    """

    def __init__(
        self,
        sample_ratio: float = 0.0,
        services: ServiceTokens | None = None,
        *,
        hosted: Collection[str] = (),
        trust_clients: bool = False,
    ) -> None:
        self._sample_ratio = sample_ratio
        self._services = services
        self._hosted = frozenset(hosted)
        self._trust_clients = trust_clients

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that opens the call."""
        ratio, name = self._sample_ratio, method.full_name[1:]
        service = method.domain.rpartition(".")[2]
        audiences = method.audiences(self._hosted)

        async def behaviour(data: bytes, context: Context) -> bytes:
            pairs: Any = context.invocation_metadata() or ()
            metadata: dict[str, Any] = dict(pairs)
            request_id, traceparent = metadata.get(REQUEST_ID), metadata.get(TRACEPARENT)
            if request_id is None or not is_request_id(request_id):
                request_id = new_id()
            if traceparent is None or not is_traceparent(traceparent):
                traceparent = new_traceparent(0.0 if SERVICE_TOKEN in metadata else ratio)
            elif (is_sampled(traceparent) or SERVICE_TOKEN not in metadata) and not self._decides(metadata, audiences):
                traceparent = decided(traceparent, ratio)
            call = Call(request_id, traceparent, metadata=metadata)
            if len(metadata) < len(pairs):
                call.repeated = repeated(pairs)
            current_call.set(call)
            if not is_sampled(traceparent):
                return await inner(data, context)
            attributes: dict[str, Any] = {"rpc__system__name": "grpc", "rpc__method": name, "stylobate__request_id": request_id}
            opened = span(service, name, traceparent, kind=SpanKind.SERVER, **attributes)
            call.traceparent = opened.traceparent
            code = "OK"
            try:
                return await inner(data, context)
            except BaseException as error:
                code = code_of(context, error)
                raise
            finally:
                opened.set("rpc.response.status_code", code)
                if code in _OUR_FAULT:
                    opened.fail(code)
                opened.end()

        return behaviour

    def _decides(self, metadata: Mapping[str, Any], audiences: Collection[str]) -> bool:
        """Return whether the caller's traceparent says if there is a span."""
        token = metadata.get(SERVICE_TOKEN)
        if self._trust_clients or self._services is None or not isinstance(token, str):
            return self._trust_clients
        try:
            return bool(self._services.verify(token, audiences))  # known by heart after the first time
        except TokenInvalidError:
            return False


def is_request_id(value: str) -> bool:
    """Return whether a caller's request id is taken: printable ASCII of at most 128 characters."""
    return 0 < len(value) <= _MAX_REQUEST_ID and value.isascii() and value.isprintable()
