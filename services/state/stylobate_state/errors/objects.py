"""Errors about an object, its key and its versions."""

from datetime import timedelta

import grpc
from stylobate.errors import NotFoundError, StylobateError, UnavailableError, Violation


class StateNamespaceUnknownError(NotFoundError):
    """No module declares a namespace of that name."""

    reason = "STATE_NAMESPACE_UNKNOWN"
    cure = "Use a namespace that a module declares in its states.yaml; `stylobate modules list` shows them."

    def __init__(self, namespace: str) -> None:
        super().__init__(f"There is no state namespace {namespace!r}.", metadata={"namespace": namespace})


class StateVersionNotFoundError(NotFoundError):
    """Nothing stood at the key at that version or time, as far as the caller may look back."""

    reason = "STATE_VERSION_NOT_FOUND"
    cure = "Look into the history, which tells the versions and their times."

    def __init__(self, namespace: str, key: str, when: str) -> None:
        """Say what was asked for: ``at version 7``, or ``at <time>``."""
        super().__init__(f"There was no {namespace}/{key} {when}.", metadata={"namespace": namespace, "key": key})


class StateVersionDeletedError(StylobateError):
    """The object was deleted at that version or time."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "STATE_VERSION_DELETED"
    cure = "Ask for an earlier version; `version` in the metadata is that of the deletion."

    def __init__(self, namespace: str, key: str, version: int) -> None:
        metadata = {"namespace": namespace, "key": key, "version": str(version)}
        super().__init__(f"{namespace}/{key} was deleted by version {version}.", metadata=metadata)


class StateNamespaceForeignError(StylobateError):
    """A handler uses the namespace of a module that its own module does not depend on; nothing was looked at or written."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "STATE_NAMESPACE_FOREIGN"
    cure = "Name the module that declares the namespace under `dependencies` in the module.yaml of the module that uses it."

    def __init__(self, namespace: str, *, owner: str, user: str) -> None:
        """Say who uses what of whom.

        :param owner: the module that declares the namespace. :param user: the module of the handler.
        """
        super().__init__(
            f"The namespace {namespace} is of the module {owner}, which {user} does not name under `dependencies`.",
            metadata={"namespace": namespace, "module": user, "dependency": owner},
        )


class StateVersionForgottenError(StylobateError):
    """The version was there; its data is not kept any more (`history` and `retention` of the namespace)."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "STATE_VERSION_FORGOTTEN"
    cure = "Ask for a later version: the history shows which are kept. What was forgotten does not come back."

    def __init__(self, namespace: str, key: str, version: int) -> None:
        metadata = {"namespace": namespace, "key": key, "version": str(version)}
        super().__init__(f"Version {version} of {namespace}/{key} is not kept any more.", metadata=metadata)


class StateContendedError(UnavailableError):
    """A change without an expected version lost to others every time it was tried; nothing was written."""

    reason = "STATE_CONTENDED"
    cure = "Try again after the time in Retry-After. Nothing was written."

    def __init__(self, namespace: str, key: str) -> None:
        super().__init__(
            f"{namespace}/{key} is being changed by too many at once; nothing was written.",
            retry_after=timedelta(seconds=1),
        )


class StateStatusNotWritableError(StylobateError):
    """A status was written that is not the present one: only transitions change it."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_STATUS_NOT_WRITABLE"
    cure = "Leave `status` out, or fire the event that leads to it."

    def __init__(self, *, given: str, present: str) -> None:
        detail = f"The status is {present!r} and cannot be set to {given!r}; only a transition changes it."
        super().__init__(detail, metadata={"status": present}, violations=[Violation("/status", detail)])


class StateOwnerNotWritableError(StylobateError):
    """A PUT names another owner than the one that the object has: only handing it over changes that."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_OWNER_NOT_WRITABLE"
    cure = "Leave `owner` out, or hand the object over: `PUT /v1/state/{namespace}/{key}/owner`."

    def __init__(self) -> None:
        detail = "The object is there and belongs to somebody else; only handing it over changes that."
        super().__init__(detail, violations=[Violation("/owner", detail)])


class StateKeyInvalidError(StylobateError):
    """The key cannot name an object."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_KEY_INVALID"
    cure = "Use 1 to 255 printable characters in Unicode form NFC, without `/`, and without a space at either end."

    def __init__(self, detail: str) -> None:
        super().__init__(detail, violations=[Violation("/key", detail)])


def for_each(error: UnavailableError, count: int) -> list[UnavailableError]:
    """Return the error once per item of a batch that it hit: an exception may be raised in one place only."""
    kind, detail, metadata, retry_after = type(error), error.detail, error.metadata, error.retry_after
    return [kind(detail, metadata=metadata, retry_after=retry_after) for _ in range(count)]
