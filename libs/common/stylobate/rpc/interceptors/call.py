"""The outermost step: opens the call as the next ones find it, and says how it ended."""

import asyncio
import logging
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from time import perf_counter
from types import MappingProxyType
from typing import Any

import grpc.aio

from stylobate.errors import InternalError, StylobateError, TokenInvalidError
from stylobate.ids import new_id, request_id_of
from stylobate.logs import get_logger
from stylobate.rpc.call import REQUEST_ID, SERVICE_TOKEN, TRACEPARENT, Call, HandedOn, current_call
from stylobate.rpc.handlers import StreamEndedError, UnaryBehaviour
from stylobate.rpc.interceptors.identity import IdentityInterceptor
from stylobate.rpc.interceptors.metrics import BOUNDS_S, RpcMetrics
from stylobate.rpc.interceptors.service_caller import ServiceTokens
from stylobate.rpc.local.asked import AskedCall
from stylobate.rpc.local.context import LocalContext
from stylobate.rpc.messages import fitting
from stylobate.rpc.method import Behaviour, Context, Method, Passing
from stylobate.rpc.outages import Outages
from stylobate.rpc.status import abort, code_of
from stylobate.telemetry import Span, SpanKind, collector, decided, is_sampled, is_traceparent, new_traceparent, span
from stylobate.telemetry.tallies import Spread

_OUR_FAULT = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""Codes that make a server's span a failure; the others are the caller's affair (OpenTelemetry's conventions for gRPC)."""
_LOCAL = frozenset({LocalContext, AskedCall})
"""Not by `isinstance`: of an abstract class that is a call, for each call."""
_NOTHING: Mapping[str, str | bytes] = MappingProxyType({})
_log = get_logger("app")
_access = get_logger("access")
_access_level = logging.getLogger("stylobate.access")  # asked first: a disabled structlog call costs more than the counting


class CallInterceptor:
    """Every call has a :class:`Call`, ends with a status of ours, is counted, timed, and traced where its trace is sampled.

    **Request id and trace** are the caller's, or made here. A service's traceparent decides whether there is a span, and a
    service that brings none works for nobody (it polls, it wakes): no trace is begun for that. Of anybody else the trace is
    kept, and whether it is sampled is decided here.

    **The deadline** is the transport's, which ends the call when the time is up; it is noted so that calls made in turn fit in.

    **Errors**: a StylobateError crosses with its details. Anything else is a defect: logged here, answered INTERNAL without
    its text. An error that says that something is unavailable is logged where it was made, with its cause.

    :param services: verifies service tokens; None: nobody is a service.
    :param hosted: the services of this process: whom a token may be for where several serve a method.
    :param sample_ratio: the share of calls of others than services that is sampled, 0 to 1.
    :param trust_clients: whether anybody's traceparent decides.
    :param metrics: where calls are counted; None: the process's metrics.
    :param identity: the next step, taken in the same one: each step by itself costs every call; None: nothing is.
    """

    passes_messages = True

    def __init__(
        self,
        services: ServiceTokens | None = None,
        *,
        hosted: Collection[str] = (),
        sample_ratio: float = 0.0,
        trust_clients: bool = False,
        metrics: RpcMetrics | None = None,
        identity: IdentityInterceptor | None = None,
    ) -> None:
        self._identity = identity
        self._services = services
        self._hosted = frozenset(hosted)
        self._ratio = sample_ratio
        self._trust_clients = trust_clients
        self._metrics = metrics or collector("rpc_server", RpcMetrics)
        self._outages = Outages("rpc_unavailable")

    def bind(self, inner: Behaviour, method: Method, /) -> Behaviour:
        """Return the behaviour that opens and ends the call; it raises nothing but the call's end."""
        name, domain, audiences = method.full_name, method.domain, method.audiences(self._hosted)
        counts = self._metrics.of(name)
        codes, spread, buckets = counts.codes, counts.seconds, counts.seconds.buckets
        clock = asyncio.get_running_loop().time
        admit = _nobody_is_asked if self._identity is None else self._identity.admitting(method)
        handler = inner if isinstance(inner, UnaryBehaviour) else None

        async def behaviour(data: Any, context: Context) -> Any:
            begun = perf_counter()
            local: Any = context if type(context) in _LOCAL else None
            came: Any = None if local is None else local.invocation
            kind = type(came)
            is_plain = kind is Call  # made by plain values, admitted, and not sampled
            call: Call = (
                came
                if is_plain
                else self._handed_on(came, audiences, local.deadline)
                if kind is HandedOn
                else self._open(context, audiences, clock)
            )
            current_call.set(call)
            opened = None if is_plain or not is_sampled(call.traceparent) else _span(call, method)
            code = "OK"
            try:
                try:
                    if not is_plain and (waiting := admit(call, context)) is not None:
                        await waiting
                    if local is None or handler is None:
                        return await inner(data, context)
                    if is_plain:
                        return await handler.plain(call, *data)
                    is_encoded = type(data) is bytes
                    answer = await handler.serve(handler.read(data) if is_encoded else data, context)
                    return handler.write(answer) if is_encoded else fitting(answer)
                except (Exception, asyncio.CancelledError) as error:
                    failed = self._failure(name, call, error)
                    if failed is None:
                        raise
                failed.__traceback__ = None  # it holds this frame, which holds it: nothing is to wait for the collector
                return await abort(context, failed, domain)
            except BaseException as error:
                code = code_of(context, error)
                raise
            finally:
                seconds = perf_counter() - begun
                codes[code] = codes.get(code, 0) + 1
                buckets[bisect_left(BOUNDS_S, seconds)] += 1  # not by a method of its own: every call would pay for one
                spread.total += seconds
                if opened is not None:
                    _end_span(opened, code, seconds, spread)
                if _access_level.isEnabledFor(logging.DEBUG):
                    _write_line(name, code, seconds, call, context)

        return behaviour

    def passing(self, method: Method, /) -> Passing | None:
        """Return what admits calls of the method by plain values, as the next step has it."""
        return None if self._identity is None else self._identity.passing(method)

    def _failure(self, method: str, call: Call, error: BaseException) -> StylobateError | None:
        """Return the error that the caller is told of; None when the call has ended already. Logs what nobody else has."""
        if isinstance(error, StylobateError):
            if not error.domain and not isinstance(error, StreamEndedError):  # else it was logged where it came from
                self._outages.note(method, error, call.request_id)
            return error
        task = asyncio.current_task()
        is_cancelled = isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
        if is_cancelled or isinstance(error, grpc.aio.AbortError | grpc.aio.InternalError):
            return None  # by caller, deadline or server; aborted by whoever holds the context; the caller is gone
        _log.error("rpc_failed", method=method, request_id=call.request_id, exc_info=error)
        return InternalError()

    def _open(self, context: Context, audiences: Collection[str], clock: Callable[[], float]) -> Call:
        """Return the call, of which its metadata tell."""
        pairs: Any = context.invocation_metadata() or ()
        metadata: dict[str, Any] = dict(pairs)
        token, traceparent = metadata.get(SERVICE_TOKEN), metadata.get(TRACEPARENT)
        if traceparent is None or not is_traceparent(traceparent):
            traceparent = new_traceparent(self._ratio if token is None else 0.0)
        elif (is_sampled(traceparent) or token is None) and not self._decides(token, audiences):
            traceparent = decided(traceparent, self._ratio)
        remaining = context.time_remaining()
        deadline = 0.0 if remaining is None else clock() + remaining
        call = Call(request_id_of(metadata.get(REQUEST_ID, "")), traceparent, deadline=deadline, metadata=metadata)
        if len(metadata) < len(pairs):
            call.repeated = frozenset(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        return call

    def _handed_on(self, came: HandedOn, audiences: Collection[str], deadline: float | None) -> Call:
        """Return the call, which one of this process makes: the ids of that one have their form."""
        caller = came.call
        if caller is None:
            request_id, traceparent = new_id(), new_traceparent(0.0)
        else:
            request_id, traceparent = caller.request_id or new_id(), caller.traceparent or new_traceparent(0.0)
            if is_sampled(traceparent) and not self._decides(came.service_token, audiences):
                traceparent = decided(traceparent, self._ratio)
        return Call(request_id, traceparent, deadline=deadline or 0.0, metadata=_NOTHING, handed_on=came)

    def _decides(self, token: Any, audiences: Collection[str]) -> bool:
        """Return whether the caller's traceparent says if there is a span.

        :param token: of a service, if one came.
        """
        if self._trust_clients or self._services is None or not isinstance(token, str):
            return self._trust_clients
        try:
            return bool(self._services.verify(token, audiences))  # known by heart after the first time
        except TokenInvalidError:
            return False


def _nobody_is_asked(_: Call, __: Context) -> None:
    """Admit a call where another step does, or none."""


def _span(call: Call, method: Method) -> Span:
    """Begin the span of a call, which from here on is the parent of what it does."""
    name = method.full_name[1:]
    facts = {"rpc__system__name": "grpc", "rpc__method": name, "stylobate__request_id": call.request_id}
    opened = span(method.domain.rpartition(".")[2], name, call.traceparent, kind=SpanKind.SERVER, **facts)
    call.traceparent = opened.traceparent
    return opened


def _end_span(opened: Span, code: str, seconds: float, spread: Spread) -> None:
    spread.exemplify(seconds, opened.traceparent)
    opened.set("rpc.response.status_code", code)
    if code in _OUR_FAULT:
        opened.fail(code)
    opened.end()


def _write_line(method: str, code: str, seconds: float, call: Call, context: Context) -> None:
    _access.debug(
        "rpc",
        method=method,
        code=code,
        ms=round(seconds * 1000, 3),
        request_id=call.request_id,
        principal=call.principal.id,
        via=call.principal.via,
        peer=context.peer(),
    )
