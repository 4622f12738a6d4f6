"""Typed errors to ``google.rpc.Status`` and back.

A :class:`StylobateError` travels as its gRPC code and text, with ``ErrorInfo``, ``BadRequest`` and ``RetryInfo`` as details
in the trailing metadata (``grpc-status-details-bin``). A status without details comes from the transport or from a foreign
server; it becomes the error of the same code.
"""

import asyncio
from datetime import timedelta
from typing import Never

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo  # type: ignore[import-untyped]  # has no stubs
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # has no stubs

from stylobate.errors import (
    DeadlineExceededError,
    InternalError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    StylobateError,
    UnauthenticatedError,
    UnavailableError,
    Violation,
)
from stylobate.rpc.method import Context

DETAILS_KEY = "grpc-status-details-bin"
NO_RETRY = ("grpc-retry-pushback-ms", "-1")
"""Goes with every error that we say ourselves: the transport tries again what nobody answered, never an answer (gRFC A6)."""
RETRY_AFTER = timedelta(seconds=1)
"""After which a caller may try again when the transport failed."""

# A status travels in headers: encoded and in base64 it must fit into MAX_METADATA_BYTES with whatever else goes there. Cut here,
# so that an error is the same whether it crosses a network or not.
_MAX_VIOLATIONS = 100
_MAX_VIOLATION_BYTES = 24 * 1024
_MAX_TEXT = 1000
_MAX_POINTER = 500

FULL = "Concurrent RPC limit exceeded!"
"""gRPC's own words, for a call that nobody looked at."""
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_PLAIN: dict[grpc.StatusCode, type[StylobateError]] = {
    grpc.StatusCode.UNKNOWN: InternalError,
    **{
        kind.code: kind
        for kind in (
            InternalError,
            InvalidInputError,
            DeadlineExceededError,
            NotFoundError,
            PermissionDeniedError,
            UnauthenticatedError,
        )
    },
}


class CallFailedError(StylobateError):
    """A part of the platform ended a call and gave no reason, such as one that does not know the call yet."""

    reason = "CALL_FAILED"
    default_detail = "A call between parts of the platform failed."
    cure = "Give the request id to the operator; while the platform is being upgraded, try again later."


def to_status(error: StylobateError, *, domain: str = "") -> Status:
    """Return the status that carries the error.

    :param domain: of the service that speaks, for an error that names none.
    """
    metadata = {key: _cut(value, _MAX_TEXT) for key, value in error.metadata.items()}
    status = Status(code=error.code.value[0], message=_cut(error.detail, _MAX_TEXT))
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=error.domain or domain, metadata=metadata))
    if error.violations:
        found = BadRequest()
        for violation in error.violations[:_MAX_VIOLATIONS]:
            pointer, detail = _cut(violation.pointer, _MAX_POINTER), _cut(violation.detail, _MAX_TEXT)
            found.field_violations.add(field=pointer, description=detail)
            if found.ByteSize() > _MAX_VIOLATION_BYTES:
                break
        status.details.add().Pack(found)
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(retry)
    return status


def from_status(status: Status) -> StylobateError | None:
    """Return the error that a status carries; None when it is not one of ours (no ``ErrorInfo``)."""
    info, request, retry = ErrorInfo(), BadRequest(), RetryInfo()
    carries_info = carries_retry = False
    for detail in status.details:
        carries_info = detail.Unpack(info) or carries_info
        carries_retry = detail.Unpack(retry) or carries_retry
        detail.Unpack(request)
    if not carries_info:
        return None
    return StylobateError.of(
        code=_CODES.get(status.code, grpc.StatusCode.UNKNOWN),
        reason=info.reason,
        detail=status.message,
        metadata=dict(info.metadata),
        violations=[Violation(violation.field, violation.description) for violation in request.field_violations],
        retry_after=retry.retry_delay.ToTimedelta() if carries_retry else None,
        domain=info.domain,
    )


def from_rpc_error(error: grpc.aio.AioRpcError) -> StylobateError:
    """Return what a failed call means.

    The text of a status without details may name addresses and is left behind; it stands in the ``AioRpcError``.
    """
    carried = carried_error(error)
    if carried is not None:
        return carried
    code = error.code()
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        # Who cancels a call gets asyncio.CancelledError; this CANCELLED is a stopping server that cut the call off.
        return UnavailableError(retry_after=RETRY_AFTER)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.details() == FULL:
        return UnavailableError("A part of the platform has too much to do.", retry_after=RETRY_AFTER)
    plain = _PLAIN.get(code)
    if plain is not None:
        return plain()
    return StylobateError.of(code=code, reason=CallFailedError.reason, detail=f"The call ended with {code.name}.")


async def abort(context: Context, error: StylobateError, domain: str) -> Never:
    """End the call that is being served with the error and its details."""
    status = to_status(error, domain=domain)
    trailing = (*(context.trailing_metadata() or ()), (DETAILS_KEY, status.SerializeToString()), NO_RETRY)
    await context.abort(error.code, status.message, trailing)


def code_of(context: Context, error: BaseException) -> str:
    """Return the name of the code that the caller of a call sees which ended with an exception."""
    code = context.code()
    if code is not None:
        return str(code.name)
    if isinstance(error, asyncio.CancelledError):
        expired = context.time_remaining() == 0
        return (grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED).name
    return grpc.StatusCode.UNKNOWN.name


def carried_error(error: grpc.aio.AioRpcError) -> StylobateError | None:
    """Return the error that a server of ours ended the call with; None where the transport did, or a foreign server."""
    trailing = error.trailing_metadata()
    data = trailing.get(DETAILS_KEY) if trailing is not None else None
    if not isinstance(data, bytes):
        return None
    try:
        status = Status.FromString(data)
    except DecodeError:
        return None  # a foreign server's; the code still says what happened
    return from_status(status)


def _cut(text: str, most: int) -> str:
    """Return a text of bounded length; what is left out shows."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
