"""Errors about what an object holds: its schema, its upgrades and its encrypted fields."""

from collections.abc import Sequence
from datetime import timedelta

import grpc
from stylobate.errors import StylobateError, UnavailableError, Violation
from stylobate.json_members import Path
from stylobate.json_pointer import pointer

from stylobate_state.model import StateKey


class StateDataInvalidError(StylobateError):
    """The data is not JSON, too large, or not what the namespace's schema asks for."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_DATA_INVALID"
    cure = "Read `errors`: each entry names a place in the data and what is wrong there."

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        place = f" (at {first.pointer})" if first.pointer else ""
        super().__init__(f"The data is not valid: {first.detail}{place}", violations=violations)

    @property
    def told(self) -> str:
        """The first findings in one line."""
        return "; ".join(f"{violation.pointer or 'the data'}: {violation.detail}" for violation in self.violations[:3])

    @classmethod
    def at(cls, pointer: str, detail: str) -> "StateDataInvalidError":
        """Return the error for one finding."""
        return cls([Violation(pointer, detail)])


class StateUpgradeUnavailableError(UnavailableError):
    """Data of an older schema version is asked for, and the module that upgrades it does not answer; nothing was written."""

    reason = "STATE_UPGRADE_UNAVAILABLE"
    cure = (
        "Try again after the time in Retry-After. An operator sees to it that the actions service runs, with this module; after "
        "`stylobate states migrate` no read depends on it."
    )

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"Objects of {namespace} are stored under an older schema version, and their module does not answer at the moment.",
            metadata={"namespace": namespace},
            retry_after=timedelta(seconds=1),
        )


class StateUpgradeFailedError(StylobateError):
    """The module makes no data of today out of the object's older data: a defect of its, nothing was written."""

    code = grpc.StatusCode.INTERNAL
    reason = "STATE_UPGRADE_FAILED"
    cure = (
        "Give the request id to the operator: the log and `stylobate states check --live` name the object and what is "
        "wrong. It can be replaced as a whole (PUT) or deleted all the same."
    )

    def __init__(self, key: StateKey, from_version: int) -> None:
        super().__init__(
            f"{key.namespace}/{key.key} is stored under schema version {from_version} and cannot be upgraded.",
            metadata={"namespace": key.namespace, "key": key.key, "from_version": str(from_version)},
        )


class StateFieldUnreadableError(StylobateError):
    """An encrypted field of the object cannot be opened: it was changed from outside, or its key is gone; nothing was written."""

    code = grpc.StatusCode.DATA_LOSS
    reason = "STATE_FIELD_UNREADABLE"
    cure = (
        "Give the request id to the operator: the log (`state_field_unreadable`) names object and field, `stylobate keys status` "
        "the keys. The object can be replaced as a whole (PUT) or deleted all the same; lists show it without the field."
    )

    def __init__(self, key: StateKey, fields: Sequence[Path]) -> None:
        named = ", ".join(map(pointer, fields))
        super().__init__(
            f"{key.namespace}/{key.key} has an encrypted field that cannot be opened: {named}.",
            metadata={"namespace": key.namespace, "key": key.key, "fields": named},
        )


class StateFieldForgottenError(StylobateError):
    """An encrypted field was its owner's, whose account was deleted, and with it the key that it was sealed with."""

    code = grpc.StatusCode.OUT_OF_RANGE
    reason = "STATE_FIELD_FORGOTTEN"
    cure = "Ask for a later version, or leave it: nobody can read the field any more (`encryption: per_owner` of the namespace)."

    def __init__(self, key: StateKey, fields: Sequence[Path]) -> None:
        named = ", ".join(map(pointer, fields))
        super().__init__(
            f"{key.namespace}/{key.key} has an encrypted field that went with its owner's account: {named}.",
            metadata={"namespace": key.namespace, "key": key.key, "fields": named},
        )


class StateKeyUnavailableError(UnavailableError):
    """The key that the namespace's fields are encrypted with cannot be had at the moment; nothing was written."""

    reason = "STATE_KEY_UNAVAILABLE"
    cure = (
        "Try again after the time in Retry-After. When it persists, this process lacks the key-encryption key: "
        "STYLOBATE_STATE_ENCRYPTION_KEY must be the same everywhere."
    )

    def __init__(self, namespace: str) -> None:
        super().__init__(f"The key of {namespace} cannot be had at the moment.", metadata={"namespace": namespace})


class StateSchemaNewerError(UnavailableError):
    """The object was written under a newer schema version than the process that was asked declares; nothing was written."""

    reason = "STATE_SCHEMA_NEWER"
    cure = "Try again after the time in Retry-After: a deployment is under way, and a process of the new release answers then."

    def __init__(self, key: StateKey, version: int) -> None:
        super().__init__(
            f"{key.namespace}/{key.key} was written under schema version {version}, which is not known here yet.",
            metadata={"namespace": key.namespace, "key": key.key},
            retry_after=timedelta(seconds=1),
        )


class StateImportRefusedError(StylobateError):
    """An object of an import was not taken in; the others are."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_IMPORT_REFUSED"
    cure = "Mend the line, or import with `--replace` where the data of objects that are there is to be replaced."

    def __init__(self, key: StateKey, why: str) -> None:
        super().__init__(f"{key.namespace}/{key.key} {why}.", metadata={"namespace": key.namespace, "key": key.key})
