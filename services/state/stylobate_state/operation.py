"""What a caller can ask for, and what it would make of an object: pure rules, no waiting."""

from dataclasses import replace
from typing import ClassVar

import msgspec
from msgspec.structs import replace as changed
from stylobate.declarations.model import AccessRule
from stylobate.declarations.rules import PUBLIC
from stylobate.errors import InvalidInputError, Violation
from stylobate.identity.principal import subject_fault
from stylobate.json_members import without
from stylobate.made_often import made_often

from stylobate_state.document import NULL
from stylobate_state.errors import StateOwnerNotWritableError, StateStatusNotWritableError
from stylobate_state.fields import Closed
from stylobate_state.guards import Asking, require_guard
from stylobate_state.merge import is_object, merge_patch
from stylobate_state.model import Change, StateRecord
from stylobate_state.namespace import Namespace


@made_often
class ChangeDraft:
    """A change as it is meant, before hooks, schema and the store had their say."""

    change: Change
    data: bytes
    status: str
    """The status after it."""
    event: str = ""
    from_status: str = ""
    owner: str | None = None
    """Whose it is after it, where the change says so."""
    restored_from: int = 0
    """The version whose data it brings back."""


class TimerGoneError(Exception):
    """The object does not wait for the timer any more. Never leaves the service."""


class TimerOwnerError(Exception):
    """The object was handed over: its timer is to be fired in another's name. Never leaves the service."""

    def __init__(self, owner: str) -> None:
        super().__init__(owner)
        self.owner = owner


class Operation(msgspec.Struct, frozen=True):
    """One thing that can be asked of an object; :meth:`draft` is what each has of its own."""

    word: ClassVar[str]
    """The verb, as in "You may not <verb> orders/42"."""
    creates: ClassVar[bool] = False
    """Whether it can be done where nothing is."""

    @property
    def builds_on_present(self) -> bool:
        """Whether its outcome depends on what was read; otherwise it holds for any later version too."""
        return True

    may_guess: ClassVar[bool] = False
    """Whether it may begin with the object as this process wrote it last. Not what looks at timers, which change in place."""
    revives: ClassVar[bool] = False
    """Whether it can be done to a tombstone, which :meth:`rules` and :meth:`draft` are given then."""

    @property
    def assigns(self) -> str | None:
        """Whose the object is to be, where it says so; for another than the caller, ``assign`` must let the caller in too."""
        return None

    def rule(self, namespace: Namespace, live: StateRecord | None) -> AccessRule:  # noqa: ARG002  for those that create
        """Return who may do it to the object; None: to one that is not there."""
        return namespace.access.write

    def rules(self, namespace: Namespace, live: StateRecord | None) -> tuple[AccessRule, ...]:
        """Return all rules that must let the caller do it."""
        return (self.rule(namespace, live),)

    def beyond(self, namespace: Namespace, live: StateRecord | None) -> tuple[Violation, ...]:  # noqa: ARG002  for those that need it
        """Return what it would write beyond what :meth:`rule` lets through: for that ``write`` must let the caller in too."""
        return ()

    def within(self, namespace: Namespace, closed: Closed, present: bytes) -> "Operation":  # noqa: ARG002  for those that set fields
        """Return the operation that leaves alone what is closed to the caller.

        :param present: the data as it stands; ``null`` where nothing does.
        :raises StateDataInvalidError: it would set some of that.
        """
        return self

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:
        """Return the change; ``live`` is None only for what :attr:`creates`.

        :param asking: who asks for it, and when: what guards may look at.

        :raises StylobateError: the rules refuse it.
        """
        raise NotImplementedError


class Put(Operation, frozen=True):
    """Create, or replace the data; the status stays."""

    word: ClassVar[str] = "write"
    creates: ClassVar[bool] = True
    may_guess: ClassVar[bool] = True

    data: bytes
    status: str | None = None
    """When given it must be the present (on create: the initial) status."""
    owner: str | None = None
    """On create, whose it is to be, else the caller's; of an object that is there it must be the owner."""

    @property
    def assigns(self) -> str | None:
        """What was given."""
        return self.owner

    keeps_fields: bool = False
    """Whether its data has fields of the present one."""

    @property
    def builds_on_present(self) -> bool:
        """Only where the status was compared, or fields are kept."""
        return self.status is not None or self.keeps_fields

    def within(self, namespace: Namespace, closed: Closed, present: bytes) -> Operation:
        """Keep the fields that the caller does not see, or may not set."""
        namespace.parse(self.data)
        return changed(self, data=closed.kept(self.data, present), keeps_fields=True)

    def rule(self, namespace: Namespace, live: StateRecord | None) -> AccessRule:
        """``create`` for what is not there, else ``write``."""
        return namespace.access.create if live is None else namespace.access.write

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:  # noqa: ARG002  as its base has it
        """Keep the status, take the data."""
        status = namespace.machine.initial if live is None else live.status
        if self.status is not None and self.status != status:
            raise StateStatusNotWritableError(given=self.status, present=status)
        _check_owner(self.owner)
        if live is None:
            return ChangeDraft(Change.CREATED, self.data, status, owner=self.owner)
        if self.owner not in {None, live.owner}:
            raise StateOwnerNotWritableError
        return ChangeDraft(Change.UPDATED, self.data, status)


class Patch(Operation, frozen=True):
    """Merge into the data (RFC 7396)."""

    word: ClassVar[str] = "write"
    may_guess: ClassVar[bool] = True

    patch: bytes

    def within(self, namespace: Namespace, closed: Closed, present: bytes) -> Operation:
        """Refuse what may not be set."""
        namespace.parse(self.patch)
        closed.check_patch(self.patch, present)
        return self

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:  # noqa: ARG002  as its base has it
        """Keep the status, merge the data."""
        present = _present(live)
        namespace.parse(self.patch)
        return ChangeDraft(Change.UPDATED, merge_patch(present.data, self.patch), present.status)


class Transition(Operation, frozen=True):
    """Fire an event of the machine, with a merge patch for the data or none."""

    word: ClassVar[str] = "fire this event of"
    may_guess: ClassVar[bool] = True

    event: str
    patch: bytes = b""

    def within(self, namespace: Namespace, closed: Closed, present: bytes) -> Operation:
        """Refuse what may not be set."""
        if self.patch:
            namespace.parse(self.patch)
            closed.check_patch(self.patch, present)
        return self

    def rule(self, namespace: Namespace, live: StateRecord | None) -> AccessRule:  # noqa: ARG002  as its base has it
        """Ask the event for its own rule, else ``write``."""
        return namespace.rule_for_event(self.event)

    def beyond(self, namespace: Namespace, live: StateRecord | None) -> tuple[Violation, ...]:
        """Return what of the patch the event does not carry by its declaration."""
        if not self.patch:
            return ()
        if not is_object(_present(live).data):
            return (Violation("", "would replace data that is not an object, which needs the right to write"),)
        return namespace.beyond_carried(self.event, self.patch)

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:
        """Enter the status that the event leads to, if its guard agrees."""
        present = _present(live)
        status = namespace.machine.fire(present.status, self.event)
        data = present.data
        patch = namespace.parse(self.patch) if self.patch else {}
        if (guard := namespace.guards.get(self.event)) is not None:
            require_guard(guard, _for_guards(namespace, present), self.event, patch, asking)
        if self.patch:
            data = merge_patch(data, self.patch)
        return ChangeDraft(Change.TRANSITIONED, data, status, self.event, present.status)


class Fire(Transition, frozen=True):
    """Fire the event of a timer, for the object that waits for it; whatever access the event has."""

    may_guess: ClassVar[bool] = False

    since: int = 0
    """The version that set the timer."""

    def rule(self, namespace: Namespace, live: StateRecord | None) -> AccessRule:  # noqa: ARG002  as its base has it
        """Let the service itself through: nobody else can ask for this."""
        return AccessRule((PUBLIC,))

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:
        """Do as the event does.

        :raises TimerGoneError: the object does not wait for it, or nothing declares it any more.
        :raises TimerOwnerError: the object has another owner than the one in whose name this is asked.
        """
        present = _present(live)
        if asking.principal.act_for != present.owner:
            raise TimerOwnerError(present.owner)
        waits = any(timer.event == self.event and timer.since == self.since and timer.at for timer in present.timers)
        if not waits or all(start.event != self.event for start in namespace.timers.get(present.status, ())):
            raise TimerGoneError
        return Transition.draft(self, namespace, live, asking)


class Assign(Operation, frozen=True):
    """Hand it over."""

    word: ClassVar[str] = "hand over"

    owner: str

    @property
    def assigns(self) -> str | None:
        """The new owner."""
        return self.owner

    def rule(self, namespace: Namespace, live: StateRecord | None) -> AccessRule:  # noqa: ARG002  as its base has it
        """``assign``."""
        return namespace.access.assign

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:  # noqa: ARG002  as its base has it
        """Keep all but the owner."""
        present = _present(live)
        _check_owner(self.owner)
        return ChangeDraft(Change.ASSIGNED, present.data, present.status, owner=self.owner)


class Delete(Operation, frozen=True):
    """Leave a tombstone."""

    word: ClassVar[str] = "delete"

    @property
    def builds_on_present(self) -> bool:
        """Of no version."""
        return False

    def rule(self, namespace: Namespace, live: StateRecord | None) -> AccessRule:  # noqa: ARG002  as its base has it
        """``delete``."""
        return namespace.access.delete

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:  # noqa: ARG002  as its base has it
        """Keep nothing but the status it had."""
        return ChangeDraft(Change.DELETED, NULL, _present(live).status)


class Restore(Operation, frozen=True):
    """Bring back the data of an older version; of a tombstone also the status and the owner that it had."""

    word: ClassVar[str] = "restore"
    revives: ClassVar[bool] = True

    version: int
    data: bytes = b""
    """That version's, once it was read."""

    def within(self, namespace: Namespace, closed: Closed, present: bytes) -> Operation:
        """Bring back what the caller may set; where a deletion is undone, that has to be all there was."""
        namespace.parse(self.data)
        older = self.data if present == NULL else without(self.data, (*closed.locked, *closed.hidden))
        return changed(self, data=closed.kept(older, present))

    def rules(self, namespace: Namespace, live: StateRecord | None) -> tuple[AccessRule, ...]:
        """``write``; where a deletion is undone ``create`` as well."""
        is_gone = live is not None and live.is_deleted
        return (namespace.access.write, namespace.access.create) if is_gone else (namespace.access.write,)

    def draft(self, namespace: Namespace, live: StateRecord | None, asking: Asking) -> ChangeDraft:  # noqa: ARG002  as its base has it
        """Keep the status, take the data of the version."""
        seen = _present(live)
        if not seen.is_deleted:
            return ChangeDraft(Change.UPDATED, self.data, seen.status, restored_from=self.version)
        status = seen.status or namespace.machine.initial
        return ChangeDraft(Change.CREATED, self.data, status, owner=seen.owner, restored_from=self.version)


def _for_guards(namespace: Namespace, state: StateRecord) -> StateRecord:
    """Return the object as guards see it: without encrypted fields, of which a refusal would tell the caller."""
    return replace(state, data=without(state.data, namespace.encrypted)) if namespace.encrypted else state


def _check_owner(owner: str | None) -> None:
    if owner is not None and (fault := subject_fault(owner)) is not None:
        raise InvalidInputError(violations=[Violation("/owner", fault)])


def _present(live: StateRecord | None) -> StateRecord:
    if live is None:
        raise AssertionError("asked of an object that is not there")
    return live
