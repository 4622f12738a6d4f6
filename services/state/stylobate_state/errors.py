"""Every error of the state service, one class per reason."""

from collections.abc import Sequence
from datetime import timedelta

import grpc
from stylobate.errors import NotFoundError, StylobateError, UnavailableError, Violation
from stylobate.json_members import Path
from stylobate.json_pointer import pointer

from stylobate_state.index import MOST_BYTES, Index
from stylobate_state.model import StateKey

_NO_INDEX = "no index answers this together with the rest of the query"


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


class StateWatchesFullError(UnavailableError):
    """The process has as many watches open as it may have."""

    reason = "STATE_WATCHES_FULL"
    default_detail = "Too many watches are open at the moment."
    cure = "Try again after the time in Retry-After; an operator raises STYLOBATE_STATE_WATCHES or adds a process."

    def __init__(self) -> None:
        super().__init__(retry_after=timedelta(seconds=1))


class StateTooManyWatchesError(StylobateError):
    """The caller has as many watches open in this process as one may have."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "STATE_TOO_MANY_WATCHES"
    default_detail = "You have too many watches open."
    cure = "Close those that are not needed; one watch of a namespace stands for many of its objects."


class StateQueryNotIndexedError(StylobateError):
    """No index of the namespace leads to what a query asks for, in the order that it asks for."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_QUERY_NOT_INDEXED"
    cure = (
        "Filter and sort as an index of the namespace has its fields (docs/how-to/query-states.md), or declare one for this "
        "query under `indexes` in states.yaml. Nothing is searched without an index."
    )

    def __init__(self, namespace: str, filtered: Sequence[str], sort: str, indexes: Sequence[Index]) -> None:
        places = [Violation(pointer(["filter", name]), _NO_INDEX) for name in filtered]
        if sort:
            places.append(Violation("/sort", _NO_INDEX))
        there = "; ".join(map(_described, indexes))
        super().__init__(
            f"No index of {namespace} answers this query. It has: {there or 'none'}.",
            metadata={"namespace": namespace, "indexes": there},
            violations=places,
        )

    @classmethod
    def by_status(cls, namespace: str) -> "StateQueryNotIndexedError":
        """Return the error for a list by status where that takes an index too."""
        error = cls(namespace, (), "", ())
        error.violations = (Violation("/status", _NO_INDEX),)
        return error


class StateSortTooBroadError(StylobateError):
    """What the filters find has to be sorted, since no index has it in that order, and is more than can be."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_SORT_TOO_BROAD"
    cure = (
        "Narrow the filters until they find at most `most` objects, or declare an index with the fields of the filters, and that "
        "of the sort behind them (docs/how-to/query-states.md). Behind a range no index has another order."
    )

    def __init__(self, index: Index, sort: str, most: int, wanted: Sequence[str]) -> None:
        """Say how many could be sorted, and the fields of an index that would have them in order; none where no index could."""
        better = f"narrow the filters, or declare an index ({','.join(wanted)})" if wanted else "narrow the filters"
        super().__init__(
            f"The filters find more than {most} objects of {index.namespace}, and no index has them in the order of {sort}: "
            f"{better}.",
            metadata={"namespace": index.namespace, "most": str(most), "index": _described(index)},
            violations=[Violation("/sort", f"takes filters that find at most {most} objects")],
        )


class StateEphemeralError(StylobateError):
    """The namespace is ephemeral, and what is asked for takes one that is durable."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_EPHEMERAL"
    cure = (
        "Ask for the objects themselves. Where history, watches or transactions with other namespaces are needed, the namespace "
        "must be durable: leave `durability` and `ttl` out in states.yaml."
    )

    def __init__(self, namespace: str, what: str) -> None:
        """Say what there is none of, such as ``history``."""
        super().__init__(f"{namespace} is ephemeral: it has no {what}.", metadata={"namespace": namespace})


class StateMovedError(StylobateError):
    """The namespace is being moved to another database, or was, and this process does not know yet; nothing was written."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STATE_MOVED"
    cure = "Try again after the time in Retry-After. It lasts until the operator has restarted the service with the new place."

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"{namespace} is being moved to another database; nothing was written.",
            metadata={"namespace": namespace},
            retry_after=timedelta(seconds=5),
        )


class StateMoveRefusedError(StylobateError):
    """The namespace cannot be moved to that database; nothing was changed."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_MOVE_REFUSED"
    cure = "Name a namespace that stands in the first database, and another database that STYLOBATE_STATE_DATABASES names."

    def __init__(self, namespace: str, why: str) -> None:
        super().__init__(f"{namespace} is not moved: {why}.", metadata={"namespace": namespace})


class StateApartError(StylobateError):
    """Operations of one transaction are on objects that stand in different databases; nothing was written."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_APART"
    cure = (
        "Do them one after the other, or in a hook on the event of the first; or let the namespaces stand in one database "
        "(`STYLOBATE_STATE_PLACES`)."
    )

    def __init__(self, first: str, last: str, *, index: int) -> None:
        """Say which operations.

        :param first: the namespace of operation 0. :param last: that of the operation with this index.
        """
        super().__init__(
            f"Operation 0 ({first}) and operation {index} ({last}) are on objects in different databases.",
            metadata={"namespace": last, "other": first, "other_index": "0"},
        )


class StateIndexNotReadyError(StylobateError):
    """The index that a query needs is still being built, or cannot be made ready."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_INDEX_NOT_READY"
    cure = (
        "Ask again when it is built; `entered` says how many objects it has seen so far. Where objects stand in its way, "
        "`stylobate status` names two of them; change one, and the index becomes ready by itself."
    )

    def __init__(self, index: Index, *, entered: int | None, has_problem: bool) -> None:
        """Say how it is, and nothing of single objects.

        :param entered: how many objects it has seen; None where the caller may not know how many there are.
        """
        why = "cannot be made ready: objects stand in its way" if has_problem else "is being built"
        super().__init__(
            f"The index ({index}) of {index.namespace} {why}.",
            metadata={"namespace": index.namespace, "index": str(index)} | ({} if entered is None else {"entered": str(entered)}),
        )


class StateNotUniqueError(StylobateError):
    """Another object has the same values in a unique index; nothing was written."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "STATE_NOT_UNIQUE"
    cure = "Choose another value for `field`, or change the object that `key` names, where you may see it. Nothing was written."

    def __init__(self, index: Index, key: str) -> None:
        """Say what is taken.

        :param key: who has it; empty where the caller may not know.
        """
        other = f"{index.namespace}/{key}" if key else f"Another object of {index.namespace}"
        super().__init__(
            f"{other} has the same {' and '.join(field.name for field in index.fields)}; nothing was written.",
            metadata={"namespace": index.namespace, "field": str(index)} | ({"key": key} if key else {}),
            violations=[Violation(pointer(path), "is taken") for path in index.paths if path],
        )


def _described(index: Index) -> str:
    return f"({index}) where status is {' or '.join(index.statuses)}" if index.statuses else f"({index})"


def too_long(index: Index) -> StateDataInvalidError:
    """Return the error for data that an index cannot hold."""
    detail = f"is longer, with the other fields of its index, than the {MOST_BYTES} bytes that an index takes"
    return StateDataInvalidError([Violation(pointer(path), detail) for path in index.paths if path])


def for_each(error: UnavailableError, count: int) -> list[UnavailableError]:
    """Return the error once per item of a batch that it hit: an exception may be raised in one place only."""
    kind, detail, metadata, retry_after = type(error), error.detail, error.metadata, error.retry_after
    return [kind(detail, metadata=metadata, retry_after=retry_after) for _ in range(count)]
