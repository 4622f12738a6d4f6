"""Errors about events, guards and the hooks of a module that decide."""

from collections.abc import Sequence
from datetime import timedelta

import grpc
from stylobate.errors import NotFoundError, StylobateError, UnavailableError

from stylobate_state.errors.data import StateDataInvalidError


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


class StateGuardRefusedError(StylobateError):
    """The event is allowed from the present status, but its guard says no; nothing was written."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_GUARD_REFUSED"
    cure = "Change what the condition in `guard` looks at, then fire the event again. Nothing was written."

    def __init__(self, *, event: str, status: str, guard: str) -> None:
        super().__init__(
            f"{event!r} is refused by its guard: {guard}", metadata={"status": status, "event": event, "guard": guard}
        )


class StateGuardFailedError(StylobateError):
    """The guard of the event comes to no answer for this object, such as where a field is missing; nothing was written."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_GUARD_FAILED"
    cure = "Give the object what the condition in `guard` asks for; in states.yaml, ask with `has(data.field)` first."

    def __init__(self, *, event: str, status: str, guard: str, fault: str) -> None:
        super().__init__(
            f"The guard of {event!r} came to no answer ({fault}): {guard}",
            metadata={"status": status, "event": event, "guard": guard, "fault": fault},
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
