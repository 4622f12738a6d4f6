"""Typed errors: one model inside, over gRPC (``google.rpc.Status``) and over HTTP (RFC 9457).

A domain error is a subclass of :class:`StylobateError` with a gRPC code and a stable reason. It crosses a service border
as a status with details and comes back as a :class:`StylobateError` with the same code, reason, detail and metadata;
``except`` clauses across a border therefore compare :attr:`StylobateError.reason`, never the class.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import grpc

_HTTP_STATUS: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 422,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.ABORTED: 412,
    grpc.StatusCode.OUT_OF_RANGE: 410,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One finding about an input."""

    pointer: str
    """Where, as a JSON pointer (RFC 6901) into the input; empty for the whole."""
    detail: str
    """What is wrong, for a person."""


class StylobateError(Exception):
    """Base of every error that may leave a service.

    Subclasses set the class attributes; ``raise`` sites give the detail. ``domain`` is the service that speaks, set by the
    error mapping at the border when it is empty.
    """

    code: grpc.StatusCode = grpc.StatusCode.INTERNAL
    reason: str = "INTERNAL"
    default_detail: ClassVar[str] = "Something went wrong on our side."
    cure: ClassVar[str] = ""
    """What a caller can do about it; shown on the problem's page."""
    finer_status: ClassVar[int] = 0
    """The HTTP status where HTTP has a finer word than the gRPC code."""
    http_fields: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()
    """HTTP header fields that go with it, names in lower case."""
    registry: ClassVar[dict[str, type["StylobateError"]]] = {}
    """Every error class by reason: the source of docs/reference/errors.md and of the problem pages."""

    def __init_subclass__(cls) -> None:
        """Enter the class into the registry under its reason, which no other class of the platform may have.

        A class that is defined again (a reload) takes its own place. Modules may share reasons, also with the platform, whose
        class stays in the registry.

        :raises TypeError: two classes of the platform have the reason.
        """
        super().__init_subclass__()
        if "reason" not in cls.__dict__:
            return
        taken = StylobateError.registry.get(cls.reason, cls)
        is_another = (taken.__module__, taken.__qualname__) != (cls.__module__, cls.__qualname__)
        if is_another and _is_ours(taken):
            if _is_ours(cls):
                raise TypeError(f"the reason {cls.reason} is that of {taken.__module__}.{taken.__qualname__}")
            return
        StylobateError.registry[cls.reason] = cls

    def __init__(
        self,
        detail: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
        domain: str = "",
    ) -> None:
        self.detail = detail or self.default_detail
        self.metadata: dict[str, str] = dict(metadata or {})
        self.violations = tuple(violations)
        self.retry_after = retry_after
        self.domain = domain
        self.sent: Mapping[str, Any] | None = None
        """What module code had sent when the platform refused it, by parameter. Stays in the process."""
        super().__init__(self.detail)

    @property
    def http_status(self) -> int:
        """The HTTP status that this error answers with."""
        return http_status_of(self.reason, self.code)

    @property
    def title(self) -> str:
        """A short name for people, made from the reason: ``STATE_VERSION_CONFLICT`` gives ``Version conflict``."""
        return title_of(self.reason)

    @classmethod
    def of(
        cls,
        *,
        code: grpc.StatusCode,
        reason: str,
        detail: str,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
        domain: str = "",
    ) -> "StylobateError":
        """Build an error that came over a border, whatever its class was there."""
        error = StylobateError(detail, metadata=metadata, violations=violations, retry_after=retry_after, domain=domain)
        error.code = code
        error.reason = reason
        return error


def _is_ours(kind: type) -> bool:
    """Return whether a class is the platform's; folders of modules are imported as ``stylobate_module_…``."""
    return kind.__module__.startswith("stylobate") and not kind.__module__.startswith("stylobate_module_")


def http_status_of(reason: str, code: grpc.StatusCode) -> int:
    """Return the HTTP status for a reason and a gRPC code."""
    kind = StylobateError.registry.get(reason)
    return (kind.finer_status if kind is not None else 0) or _HTTP_STATUS[code]


_WRITTEN = {"API": "API", "CORS": "CORS", "CSRF": "CSRF", "JSON": "JSON", "OAUTH": "OAuth", "URI": "URI"}
"""Words that are not written like others."""


def title_of(reason: str) -> str:
    """Return the title for a reason: the words behind the first, or the only word."""
    words = reason.split("_")
    if len(words) > 2 and words[0] in {"STATE", "AUTH", "ACTION", "REALTIME"}:  # noqa: PLR2004  "ACTION_FAILED" reads better whole
        words = words[1:]
    first, *others = words
    return " ".join((_WRITTEN.get(first, first.capitalize()), *(_WRITTEN.get(word, word.lower()) for word in others)))


class InternalError(StylobateError):
    """A defect; its text never leaves the process."""

    reason = "INTERNAL"
    cure = "Try again; if it persists, give the request id to the operator."


class InvalidInputError(StylobateError):
    """The input does not have the form that was asked for."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_INPUT"
    default_detail = "The input is not valid."
    cure = "Read `errors`: each entry names a place in the input and what is wrong there."


class MalformedJsonError(InvalidInputError):
    """The input is not JSON."""

    finer_status = 400
    reason = "MALFORMED_JSON"
    default_detail = "The input is not valid JSON."
    cure = "Send one JSON value (RFC 8259) in UTF-8."


class UnsupportedMediaTypeError(InvalidInputError):
    """A body of a type that is not taken here."""

    finer_status = 415
    reason = "UNSUPPORTED_MEDIA_TYPE"
    default_detail = "The body must be application/json."
    cure = "Send `Content-Type: application/json`."


class ValueRefusedError(InvalidInputError):
    """A value that passed every check of ours and that the database cannot keep or look for."""

    reason = "VALUE_REFUSED"
    default_detail = "A value cannot be kept or looked for: it holds U+0000, or is out of range, too long or too deep."
    cure = "Leave such characters out; send numbers within 64 bits, shorter text, flatter documents."


class UnauthenticatedError(StylobateError):
    """No token, or one that does not hold."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    default_detail = "A valid access token is needed."
    cure = "Send `Authorization: Bearer <access token>`; log in or refresh to get one."


class TokenInvalidError(UnauthenticatedError):
    """A token that is malformed, expired, of the wrong kind or not signed by us."""

    reason = "TOKEN_INVALID"
    default_detail = "The access token is not valid."


class TokenExpiredError(UnauthenticatedError):
    """A token past its time."""

    reason = "TOKEN_EXPIRED"
    default_detail = "The access token has expired."
    cure = "Refresh the session and try again."


class TokenRevokedError(UnauthenticatedError):
    """A token that was taken back (logout, reuse of a refresh token)."""

    reason = "TOKEN_REVOKED"
    default_detail = "The access token was revoked."
    cure = "Log in again."


class PermissionDeniedError(StylobateError):
    """Known, and not allowed. ``metadata["permission"]`` names what is missing, where one permission is."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "PERMISSION_DENIED"
    default_detail = "You may not do this."
    cure = "Ask an administrator for the permission named in the answer."


class UnavailableError(StylobateError):
    """A part that is needed does not answer; try again later."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"
    default_detail = "A part of the platform does not answer at the moment."
    cure = "Wait for the time in Retry-After and try again; a mutation may have happened."


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer."""

    reason = "DATABASE_UNAVAILABLE"
    default_detail = "The database does not answer at the moment."


class RedisUnavailableError(UnavailableError):
    """Valkey or Redis does not answer."""

    reason = "REDIS_UNAVAILABLE"
    default_detail = "The Redis server does not answer at the moment."


class KeyEncryptionUnavailableError(UnavailableError):
    """What data keys are sealed with does not answer: Vault is away or sealed, and this process has not opened the key yet."""

    reason = "KEY_ENCRYPTION_UNAVAILABLE"
    default_detail = "A key cannot be had at the moment."


class DeadlineExceededError(StylobateError):
    """The time given was not enough."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"
    default_detail = "The call took longer than it was given."
    cure = "Give it more time, or try again; a mutation may have happened."


class CancelledCallError(StylobateError):
    """The caller went away."""

    code = grpc.StatusCode.CANCELLED
    reason = "CANCELLED"
    default_detail = "The caller cancelled the call."


class NotFoundError(StylobateError):
    """What was asked for was not found."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"
    default_detail = "Not found."


class IdempotencyInProgressError(StylobateError):
    """Another call with the same idempotency key is under way."""

    code = grpc.StatusCode.ABORTED
    finer_status = 409
    reason = "IDEMPOTENCY_IN_PROGRESS"
    default_detail = "Another call with this idempotency key is under way."
    cure = "Wait a moment and send the same request again with the same key."
