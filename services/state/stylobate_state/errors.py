"""Every error of the state service, one class per reason."""

from collections.abc import Sequence
from datetime import timedelta

import grpc
from stylobate.errors import NotFoundError, StylobateError, UnavailableError, Violation


class StateNamespaceUnknownError(NotFoundError):
    """No module declares a namespace of that name."""

    reason = "STATE_NAMESPACE_UNKNOWN"
    cure = "Use a namespace that a module declares in its states.yaml; `stylobate modules list` shows them."

    def __init__(self, namespace: str) -> None:
        super().__init__(f"There is no state namespace {namespace!r}.", metadata={"namespace": namespace})


class StateContendedError(UnavailableError):
    """A change without an expected version lost to others every time it was tried; nothing was written."""

    reason = "STATE_CONTENDED"
    cure = "Try again after the time in Retry-After. Nothing was written."

    def __init__(self, namespace: str, key: str) -> None:
        super().__init__(
            f"{namespace}/{key} is being changed by too many at once; nothing was written.",
            retry_after=timedelta(seconds=1),
        )


class StateTransitionNotAllowedError(StylobateError):
    """The event exists, but not from the present status."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_TRANSITION_NOT_ALLOWED"
    cure = "Fire one of the events named in `allowed`, or none: the object has moved on."

    def __init__(self, *, event: str, status: str, allowed: Sequence[str]) -> None:
        choices = f"Allowed now: {', '.join(allowed)}." if allowed else "No event is allowed from here."
        super().__init__(
            f"{event!r} is not allowed while the status is {status!r}. {choices}",
            metadata={"status": status, "event": event, "allowed": ",".join(allowed)},
        )


class StateEventUnknownError(NotFoundError):
    """The namespace's machine has no event of that name."""

    reason = "STATE_EVENT_UNKNOWN"
    cure = "Use an event that the namespace declares under `transitions`."

    def __init__(self, namespace: str, event: str, known: Sequence[str]) -> None:
        choices = f"It knows: {', '.join(known)}." if known else "It declares no transitions."
        super().__init__(
            f"The namespace {namespace!r} has no event {event!r}. {choices}",
            metadata={"namespace": namespace, "event": event, "known": ",".join(known)},
        )


class StateDataInvalidError(StylobateError):
    """The data is not JSON, too large, or not what the namespace's schema asks for."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_DATA_INVALID"
    cure = "Read `errors`: each entry names a place in the data and what is wrong there."

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        place = f" (at {first.pointer})" if first.pointer else ""
        super().__init__(f"The data is not valid: {first.detail}{place}", violations=violations)

    @classmethod
    def at(cls, pointer: str, detail: str) -> "StateDataInvalidError":
        """Return the error for one finding."""
        return cls([Violation(pointer, detail)])


class StateStatusNotWritableError(StylobateError):
    """A status was written that is not the present one: only transitions change it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_STATUS_NOT_WRITABLE"
    cure = "Leave `status` out, or fire the event that leads to it."

    def __init__(self, *, given: str, present: str) -> None:
        detail = f"The status is {present!r} and cannot be set to {given!r}; only a transition changes it."
        super().__init__(detail, metadata={"status": present}, violations=[Violation("/status", detail)])


class StateKeyInvalidError(StylobateError):
    """The key cannot name an object."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_KEY_INVALID"
    cure = "Use 1 to 255 printable characters in Unicode form NFC, without `/`, and without a space at either end."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, violations=[Violation("/key", detail)])


class StateHookUnavailableError(UnavailableError):
    """A before-hook that must agree does not answer; nothing was written."""

    reason = "STATE_HOOK_UNAVAILABLE"
    cure = "Try again after the time in Retry-After. Nothing was written."

    def __init__(self, module: str, method: str) -> None:
        super().__init__(
            f"The before-hook {module}.{method} does not answer at the moment; nothing was written.",
            metadata={"module": module, "hook": method},
            retry_after=timedelta(seconds=1),
        )


class StateHookFailedError(StateDataInvalidError):
    """A before-hook answered with data that cannot be stored: a defect of its module, nothing was written."""

    code = grpc.StatusCode.INTERNAL
    reason = "STATE_HOOK_FAILED"
    cure = "Give the request id to the operator: the log names the hook and what is wrong with its data."

    def __init__(self, module: str, method: str) -> None:
        StylobateError.__init__(
            self,
            f"The before-hook {module}.{method} failed on our side; nothing was written.",
            metadata={"module": module, "hook": method},
        )


def for_each(error: UnavailableError, count: int) -> list[UnavailableError]:
    """Return the error once per item of a batch that it hit: an exception may be raised in one place only."""
    kind, detail, metadata, retry_after = type(error), error.detail, error.metadata, error.retry_after
    return [kind(detail, metadata=metadata, retry_after=retry_after) for _ in range(count)]
