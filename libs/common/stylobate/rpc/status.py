"""Typed errors to ``google.rpc.Status`` and back.

A :class:`StylobateError` travels as its gRPC code and text, with ``ErrorInfo``, ``BadRequest`` and ``RetryInfo`` as details
in the trailing metadata (``grpc-status-details-bin``). A status without details comes from the transport or from a foreign
server; it becomes the error of the same code.
"""

from datetime import timedelta

import grpc
import grpc.aio
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
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

_FULL = "Concurrent RPC limit exceeded!"  # gRPC's own words, for a call that nobody looked at
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_PLAIN: dict[grpc.StatusCode, type[StylobateError]] = {
    grpc.StatusCode.UNKNOWN: InternalError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInputError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
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
    metadata = {key: value[:_MAX_TEXT] for key, value in error.metadata.items()}
    details = [ErrorInfo(reason=error.reason, domain=error.domain or domain, metadata=metadata)]
    status = Status(code=error.code.value[0], message=error.detail[:_MAX_TEXT], details=map(_packed, details))
    if error.violations:
        found = BadRequest()
        for violation in error.violations[:_MAX_VIOLATIONS]:
            found.field_violations.add(field=violation.pointer[:_MAX_POINTER], description=violation.detail[:_MAX_TEXT])
            if found.ByteSize() > _MAX_VIOLATION_BYTES:
                break
        status.details.append(_packed(found))
    if error.retry_after is not None:
        retry = RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.append(_packed(retry))
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
    carried = _carried(error)
    if carried is not None:
        return carried
    code = error.code()
    if code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}:
        # Who cancels a call gets asyncio.CancelledError; this CANCELLED is a stopping server that cut the call off.
        return UnavailableError(retry_after=RETRY_AFTER)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.details() == _FULL:
        return UnavailableError("A part of the platform has too much to do.", retry_after=RETRY_AFTER)
    plain = _PLAIN.get(code)
    if plain is not None:
        return plain()
    return StylobateError.of(code=code, reason=CallFailedError.reason, detail=f"The call ended with {code.name}.")


def is_transport_failure(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the call failed before any server of ours said so: UNAVAILABLE without details."""
    return error.code() is grpc.StatusCode.UNAVAILABLE and _carried(error) is None


def is_silence(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the time was up before any server of ours answered: DEADLINE_EXCEEDED without details."""
    return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED and _carried(error) is None


def _carried(error: grpc.aio.AioRpcError) -> StylobateError | None:
    trailing = error.trailing_metadata()
    data = trailing.get(DETAILS_KEY) if trailing is not None else None
    if not isinstance(data, bytes):
        return None
    try:
        status = Status.FromString(data)
    except DecodeError:
        return None  # a foreign server's; the code still says what happened
    return from_status(status)


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed
