"""A declared namespace, bound for use: compiled schema, machine, access rules, before-hooks."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from stylobate.declarations import CompiledSchema
from stylobate.declarations.compiled import UNKNOWN_MEMBER
from stylobate.declarations.guard import Guard
from stylobate.declarations.indexes import path_of
from stylobate.declarations.model import AccessRule, BeforeHook, NamespaceAccess, NamespaceDeclaration
from stylobate.declarations.rules import ACTIONS, handlers_of
from stylobate.declarations.states_file import KEEP
from stylobate.errors import InvalidInputError, Violation
from stylobate.identity import Principal
from stylobate.json_members import Path
from stylobate.keys import MAX_LENGTH, in_channel, key_fault, unreadable
from stylobate.rpc.call import Cause

from stylobate_state.document import parse_document
from stylobate_state.errors import StateDataInvalidError, StateKeyInvalidError, StateNamespaceForeignError
from stylobate_state.fields import FieldRules
from stylobate_state.index import Index, IndexedFields, indexes_of
from stylobate_state.machine import Machine
from stylobate_state.model import Beside, Change, Origin, StateRecord, TimerStart

_LONGEST_REQUEST_ID = 128
_NO_DATA = CompiledSchema({"type": "object", "properties": {}, "additionalProperties": False})


@dataclass(frozen=True, slots=True)
class Namespace:
    """What holds for the objects of one namespace."""

    name: str
    module: str
    """Which declares it."""
    users: Collection[str]
    """The modules whose handlers may ask for anything here: that one, and those that depend on it."""
    access: NamespaceAccess
    shows_people: AccessRule
    """Who may know whose an object is and who changed it, also where it is not theirs."""
    machine: Machine
    before: Mapping[str, BeforeHook]
    schema: CompiledSchema | None
    carried: Mapping[str, CompiledSchema]
    """By event: what a patch may hold when it comes from who does not hold ``write``; nothing for events that are not here."""
    guards: Mapping[str, Guard]
    """By event: what must hold beside the status."""
    timers: Mapping[str, tuple[TimerStart, ...]]
    """By the status that they begin with."""
    statuses: tuple[str, ...]
    channels: tuple[str, ...]
    """Namespaces of realtime channels, each of whose names ends in a key of this one."""
    max_data_bytes: int
    indexes: tuple[Index, ...] = ()
    history: int = 0
    """How many versions are shown, the newest ones; 0: all."""
    deleted_for: timedelta | None = None
    """How long what was deleted can be looked at and restored; None: for good."""
    on_owner_deleted: str = KEEP
    """What becomes of objects when their owner's account is deleted: keep, anonymize or delete."""
    fields: FieldRules = FieldRules(())  # noqa: RUF009  it never changes
    """Which of the data is not everybody's to see or to set."""
    encrypted: tuple[Path, ...] = ()
    """What of the data is stored sealed."""
    per_owner: bool = False
    """Whether with a key for each owner, which is destroyed with the owner's account."""
    schema_version: int = 1
    """What is written under it from now on."""
    upgrade: str = ""
    """The module's method that makes data of this version out of older data."""
    event_data: tuple[str, ...] = ()
    """What its events carry beside what all do."""
    aside: IndexedFields | None = None
    """What its log keeps for watches with filters."""
    is_plain: bool = False
    """Whether a change is what its rules and guards say: no before-hook, no field that is encrypted, or not everybody's."""

    @classmethod
    def of(
        cls, declaration: NamespaceDeclaration, channels: Sequence[str] = (), users: Collection[str] = (), *, max_data_bytes: int
    ) -> "Namespace":
        """Bind a declaration. Raises ValueError for an invalid schema (the loader has refused it before).

        :param channels: namespaces of realtime channels that follow its objects.
        :param users: the modules that depend on the one that declares it.
        """
        return cls(
            name=declaration.name,
            module=declaration.module,
            users=frozenset((declaration.module, *users)),
            access=declaration.access,
            shows_people=_shows_people(declaration, users),
            machine=Machine(declaration.name, declaration.initial, declaration.transitions),
            before=declaration.before,
            schema=CompiledSchema(declaration.schema) if declaration.schema is not None else None,
            carried={
                event: CompiledSchema(transition.data)
                for event, transition in declaration.transitions.items()
                if transition.data is not None
            },
            guards={event: Guard(item.guard) for event, item in declaration.transitions.items() if item.guard},
            timers={
                status: tuple(TimerStart(item.event, item.after) for item in declaration.timers if item.status == status)
                for status in {item.status for item in declaration.timers}
            },
            statuses=declaration.statuses,
            channels=tuple(channels),
            max_data_bytes=max_data_bytes,
            indexes=indexes_of(declaration),
            history=declaration.history,
            deleted_for=declaration.deleted_for,
            on_owner_deleted=declaration.on_owner_deleted,
            fields=FieldRules(declaration.fields, declaration.name),
            encrypted=tuple(map(path_of, declaration.encrypted)),
            per_owner=declaration.per_owner,
            schema_version=declaration.schema_version,
            upgrade=declaration.upgrade,
            event_data=declaration.event_data,
            aside=IndexedFields.of(indexes_of(declaration)),
            is_plain=not (declaration.before or declaration.encrypted or declaration.fields),
        )

    def beside(self, cause: Cause, principal: Principal | None = None) -> Beside | None:
        """Return what the event of a change carries beside what all do; None: nothing.

        :param principal: who asks for the change; None: the state service does it by itself.
        """
        if not self.event_data:
            return Beside(aside=self.aside) if self.aside is not None else None
        origin = None
        if "cause" in self.event_data:
            via, module = (principal.via, principal.module) if principal is not None else ("state", "")
            origin = Origin(cause.hook_depth, via, module, cause.request_id[:_LONGEST_REQUEST_ID])
        return Beside("before" in self.event_data, "delta" in self.event_data, origin, self.aside)

    def first_kept(self, present: StateRecord, now: datetime) -> int:
        """Return the first version of an object, or a tombstone, that can still be looked at."""
        first = max(1, present.version - self.history + 1) if self.history else 1
        is_over = present.is_deleted and self.deleted_for is not None and present.updated_at + self.deleted_for <= now
        return present.version if is_over else first

    def check_user(self, principal: Principal) -> None:
        """Raise StateNamespaceForeignError for a handler of a module that does not say that it uses this one's."""
        if principal.module and principal.via == ACTIONS and principal.module not in self.users:
            raise StateNamespaceForeignError(self.name, owner=self.module, user=principal.module)

    def parse(self, data: bytes) -> Any:
        """Return the value of a JSON text that came in, whatever the schema says. Raises StateDataInvalidError."""
        return parse_document(data, self.max_data_bytes)

    def check(self, data: bytes) -> None:
        """Raise StateDataInvalidError for data that may not be stored here, with every finding."""
        value = self.parse(data)
        if self.schema is not None and not self.schema.is_valid(value):
            raise StateDataInvalidError(self.schema.violations(value))

    def beyond_carried(self, event: str, patch: bytes) -> tuple[Violation, ...]:
        """Return what of the patch the event does not carry by its declaration: members, or their values."""
        violations = self.carried.get(event, _NO_DATA).violations(self.parse(patch))
        said = f"is not carried by the event {event!r}; its `data` in states.yaml says what is, all else takes the right to write"
        return tuple(Violation(item.pointer, said) if item.detail == UNKNOWN_MEMBER else item for item in violations)

    def check_status(self, status: str) -> None:
        """Raise InvalidInputError for a status that no object has here; an empty one asks for none."""
        if status and status not in self.statuses:
            known = f"which has: {', '.join(self.statuses)}" if self.statuses else "which has none"
            raise InvalidInputError(violations=[Violation("/status", f"is not a status of {self.name}, {known}")])

    def rule_for_event(self, event: str) -> AccessRule:
        """Return who may fire the event: its own rule, else ``write``. Raises StateEventUnknownError."""
        declared = self.machine.transitions.get(event)
        if declared is None:
            declared = self.machine.transition(event)  # which says what there is
        return declared.access or self.access.write

    def rules_of_changes(self) -> Iterator[AccessRule]:
        """Yield every rule that lets somebody change an object."""
        yield from (self.access.create, self.access.write, self.access.delete, self.access.assign)
        yield from (event.access for event in self.machine.transitions.values() if event.access is not None)

    def check_new_key(self, key: str) -> None:
        """Raise StateKeyInvalidError for a key that no new object may have here.

        Asked where nothing is, or nothing that the caller may know of: an old object of such a key can still be reached.
        """
        if (fault := key_fault(key)) is not None:
            raise StateKeyInvalidError(fault)
        for channel in self.channels:
            if len(channel) + 1 + len(in_channel(key)) > MAX_LENGTH:
                raise StateKeyInvalidError(f"The name of the channel `{channel}:<key>` has at most {MAX_LENGTH} characters.")

    def hook(self, change: Change, event: str) -> BeforeHook | None:
        """Return what must agree before the change: for a transition the hook of its event."""
        return self.before.get(event if change is Change.TRANSITIONED else change.value)


def _shows_people(declaration: NamespaceDeclaration, users: Collection[str]) -> AccessRule:
    """Return the rule: who reads by permission, who reads through a handler, and whom ``show_owner`` names."""
    handlers = map(handlers_of, (declaration.module, *users))
    access = declaration.access
    return AccessRule(tuple(dict.fromkeys((*handlers, *access.read.permissions, *access.show_owner.terms))))


def check_key(key: str) -> None:
    """Raise StateKeyInvalidError for a key that no object can have, not even one from before the rules of today."""
    if (fault := unreadable(key)) is not None:
        raise StateKeyInvalidError(fault)
