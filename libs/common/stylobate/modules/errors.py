"""Errors of module code: what a handler raises on purpose, and what the platform says about handlers.

A handler may raise any :class:`~stylobate.errors.StylobateError`; it reaches the caller unchanged, over gRPC and HTTP.
Any other exception is a defect: the caller sees ``ACTION_FAILED`` and nothing of its text.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta

import grpc

from stylobate.declarations.model import Finding
from stylobate.errors import InvalidInputError, StylobateError, Violation

_CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    410: grpc.StatusCode.OUT_OF_RANGE,
    412: grpc.StatusCode.ABORTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""By HTTP status: what crosses as this code comes out as that status."""
_REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def is_reason(text: str) -> bool:
    """Whether the text has the form of a reason: ``OUT_OF_STOCK``."""
    return _REASON.fullmatch(text) is not None


class RefusedError(StylobateError):
    """The module's own rules say no: with a reason of the module's choosing, and 409 over HTTP or another status.

    Raise it where it is decided, or subclass it to give a refusal a name of its own::

        raise RefusedError("CART_EMPTY", "There is nothing in the cart.")

        class NoSuchSlotError(RefusedError, status=404):
            \"\"\"Nobody offers that slot.\"\"\"

            reason = "NO_SUCH_SLOT"
            default_detail = "There is no such slot."

    Statuses: 401, 403, 404, 409, 410, 412, 422, 429, 503. Others do not cross gRPC.
    """

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "REFUSED"
    default_detail = "The rules do not allow this now."
    cure = "Read `detail`: it says which rule of the application stands against it."

    def __init_subclass__(cls, *, status: int | None = None) -> None:
        """Take the class's HTTP status; none: that of its base. Raises ValueError for one that cannot be, or a bad reason."""
        if status is not None:
            cls.code = _code_of(status)
        _check_reason(cls.reason)
        super().__init_subclass__()

    def __init__(
        self,
        reason: str = "",
        detail: str = "",
        *,
        status: int | None = None,
        metadata: Mapping[str, str] | None = None,
        violations: Sequence[Violation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        """Take the reason in upper snake case (none: that of the class) and a sentence for a person.

        :param status: over HTTP; none: that of the class.
        :raises ValueError: a reason of another form, for clients match on it; a status that cannot be.
        """
        super().__init__(detail, metadata=metadata, violations=violations, retry_after=retry_after)
        if status is not None:
            self.code = _code_of(status)
        if reason:
            _check_reason(reason)
            self.reason = reason


def _check_reason(reason: str) -> None:
    if not is_reason(reason):
        raise ValueError(f"a reason is written in upper snake case, such as OUT_OF_STOCK, not {reason!r}")


def _code_of(status: int) -> grpc.StatusCode:
    if status not in _CODES:
        raise ValueError(f"a module refuses with one of {', '.join(map(str, _CODES))}, not {status}")
    return _CODES[status]


class ActionInputInvalidError(InvalidInputError):
    """The input does not fit the action's schema."""

    reason = "ACTION_INPUT_INVALID"
    default_detail = "The input does not fit the schema of this action."
    cure = "Read `errors`; the schema stands in the catalogue (`GET /v1/actions/{name}`)."


class ActionFailedError(StylobateError):
    """A defect in the action; its text is in the log, never in the answer."""

    code = grpc.StatusCode.INTERNAL
    reason = "ACTION_FAILED"
    default_detail = "The action failed on our side."
    cure = "Give the request id to the operator: the log names the module, the action and the place."


class OutputInvalidError(Exception):
    """What a handler returned is not what its action promises. Never leaves the process."""

    def __init__(self, detail: str, violations: Sequence[Violation] = ()) -> None:
        self.violations = tuple(violations)
        lines = [f"{violation.pointer or '(the whole)'}: {violation.detail}" for violation in violations]
        super().__init__("\n".join([detail, *lines]))


class ModuleLoadError(Exception):
    """A module that cannot be used, with every finding and where it stands."""

    def __init__(self, module: str, findings: Sequence[Finding]) -> None:
        self.module = module
        self.findings = tuple(findings)
        super().__init__("; ".join(str(finding) for finding in findings))
