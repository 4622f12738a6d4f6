"""What a hook's failure means for its event: whether another try can help."""

from enum import Enum

import grpc

from stylobate.errors import StylobateError


class Verdict(Enum):
    """What becomes of the event."""

    NOT_NOW = "not now"
    """What the hook needs is away or asks to wait: tried again for as long as events are waited for, uncounted."""
    AGAIN = "again"
    """It may go well another time: tried again, a bounded number of times."""
    NEVER = "never"
    """The same event would be refused the same way forever: a dead letter at once."""


BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: Verdict.NOT_NOW,
    grpc.StatusCode.INVALID_ARGUMENT: Verdict.NEVER,
    grpc.StatusCode.NOT_FOUND: Verdict.NEVER,
    grpc.StatusCode.ALREADY_EXISTS: Verdict.NEVER,
    grpc.StatusCode.PERMISSION_DENIED: Verdict.NEVER,
    grpc.StatusCode.FAILED_PRECONDITION: Verdict.NEVER,
    grpc.StatusCode.OUT_OF_RANGE: Verdict.NEVER,
    grpc.StatusCode.DATA_LOSS: Verdict.NEVER,
    # another read may find another version; a deadline, a cancellation or a defect may be of the moment
    grpc.StatusCode.ABORTED: Verdict.AGAIN,
    grpc.StatusCode.DEADLINE_EXCEEDED: Verdict.AGAIN,
    grpc.StatusCode.CANCELLED: Verdict.AGAIN,
    grpc.StatusCode.INTERNAL: Verdict.AGAIN,
    grpc.StatusCode.UNKNOWN: Verdict.AGAIN,
    # keys and releases roll: the next token is known, the next process has the method
    grpc.StatusCode.UNAUTHENTICATED: Verdict.AGAIN,
    grpc.StatusCode.UNIMPLEMENTED: Verdict.AGAIN,
    # without a time to wait it is a message too large and the like; with one see verdict_on()
    grpc.StatusCode.RESOURCE_EXHAUSTED: Verdict.AGAIN,
}


def verdict_on(error: BaseException) -> Verdict:
    """Return what a failure means; what is not a platform error (a defect, a timeout) may go well another time."""
    if not isinstance(error, StylobateError):
        return Verdict.AGAIN
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after is not None:
        return Verdict.NOT_NOW
    return BY_CODE.get(error.code, Verdict.AGAIN)
