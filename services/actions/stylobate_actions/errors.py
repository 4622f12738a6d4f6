"""Errors of the actions service; those about input, output and defects stand in `stylobate.modules.errors`."""

import grpc
from stylobate.errors import DeadlineExceededError, NotFoundError, StylobateError, UnavailableError


class ActionNotFoundError(NotFoundError):
    """No action has exactly this name."""

    reason = "ACTION_NOT_FOUND"
    default_detail = "There is no action with that name."
    cure = "Names are exact; `GET /v1/actions` lists them."


class ActionUnavailableError(UnavailableError):
    """The action is declared, but its module did not load."""

    reason = "ACTION_UNAVAILABLE"
    default_detail = "The module of this action is not running."
    cure = "Ask the operator: `stylobate modules check` says what is wrong with the module."


class ActionTimeoutError(DeadlineExceededError):
    """The handler did not answer in time; what it had begun was cancelled."""

    reason = "ACTION_TIMEOUT"
    default_detail = "The action took longer than it may."
    cure = "Try again; what the action had begun may have happened."


class ActionRecursionError(StylobateError):
    """Actions that call each other, too deep to be meant."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "ACTION_RECURSION"
    default_detail = "Too many actions called each other."
    cure = "Break the circle: an action calls itself through others."


class HookNotFoundError(NotFoundError):
    """No module declares this before-hook."""

    reason = "HOOK_NOT_FOUND"
    default_detail = "There is no such hook."


class HookUnavailableError(UnavailableError):
    """The module of this hook did not load."""

    reason = "HOOK_UNAVAILABLE"
    default_detail = "The module of this hook is not running."


class HookTimeoutError(DeadlineExceededError):
    """The hook did not answer in time."""

    reason = "HOOK_TIMEOUT"
    default_detail = "A hook of the application took longer than it may."


class HookFailedError(StylobateError):
    """A defect in the hook; its text is in the log, never in the answer."""

    code = grpc.StatusCode.INTERNAL
    reason = "HOOK_FAILED"
    default_detail = "A hook of the application failed on our side."
    cure = "Give the request id to the operator: the log names the module, the hook and the place."


class ExportNotWrittenError(StylobateError):
    """A module forgets people, so it keeps something of them, and has no method that gives it out."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "USER_EXPORT_NOT_WRITTEN"
    default_detail = "The module keeps something of people and gives nothing out."
    cure = "Tell the module's author: beside `delete_user` it needs `export_user`."
