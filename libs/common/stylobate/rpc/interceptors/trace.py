"""Request id and trace of a call; begins the :class:`~stylobate.rpc.call.Call` that the next steps fill."""

from typing import Any

from opentelemetry.trace import SpanKind

from stylobate.ids import new_id
from stylobate.rpc.call import REQUEST_ID, TRACEPARENT, Call, current_call, repeated
from stylobate.rpc.method import Behaviour, Context, Method
from stylobate.telemetry import is_sampled, is_traceparent, new_traceparent, span

_MAX_REQUEST_ID = 128


class TraceInterceptor:
    """Accepts the caller's ``x-request-id`` and ``traceparent`` or makes them; a span only when the trace is sampled.

    :param sample_ratio: the share of calls that bring no trace and are sampled, 0 to 1.
    """

    def __init__(self, sample_ratio: float = 0.0) -> None:
        self._sample_ratio = sample_ratio

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that opens the call."""
        ratio, name = self._sample_ratio, method.full_name[1:]
        attributes = {"rpc.system": "grpc", "rpc.service": method.service, "rpc.method": name.rpartition("/")[2]}

        async def behaviour(data: bytes, context: Context) -> bytes:
            pairs: Any = context.invocation_metadata() or ()
            metadata: dict[str, Any] = dict(pairs)
            request_id, traceparent = metadata.get(REQUEST_ID), metadata.get(TRACEPARENT)
            if request_id is None or not is_request_id(request_id):
                request_id = new_id()
            if traceparent is None or not is_traceparent(traceparent):
                traceparent = new_traceparent(ratio)
            call = Call(request_id, traceparent, metadata=metadata)
            if len(metadata) < len(pairs):
                call.repeated = repeated(pairs)
            current_call.set(call)
            if not is_sampled(traceparent):
                return await inner(data, context)
            with span(name, traceparent, kind=SpanKind.SERVER, request_id=request_id, **attributes) as opened:
                call.traceparent = opened.traceparent
                return await inner(data, context)

        return behaviour


def is_request_id(value: str) -> bool:
    """Return whether a caller's request id is taken: printable ASCII of at most 128 characters."""
    return 0 < len(value) <= _MAX_REQUEST_ID and value.isascii() and value.isprintable()
