"""Fields of the data that not everybody sees or sets: what one caller is shown, and what a change may touch."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from zlib import crc32

from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.indexes import path_of
from stylobate.declarations.model import AccessRule, FieldDeclaration
from stylobate.errors import Violation
from stylobate.identity import Principal
from stylobate.identity.resources import state_object
from stylobate.json_members import Path, find, is_object, is_same, with_value, without
from stylobate.json_pointer import pointer, steps

from stylobate_state.document import NULL
from stylobate_state.errors import StateDataInvalidError
from stylobate_state.index import Index
from stylobate_state.model import HistoryEntry, StateRecord

_NOT_YOURS = "is not yours to set; its rule under `fields` in states.yaml says who may"
_HIDDEN = "is not what the schema asks for, in a field that you may not see"


@dataclass(frozen=True, slots=True)
class Closed:
    """What is closed to a caller of one object's fields."""

    hidden: tuple[Path, ...] = ()
    """What it may not see."""
    locked: tuple[Path, ...] = ()
    """What it may not set."""

    def shows(self, data: bytes) -> bytes:
        """Return the data as the caller sees it."""
        return without(data, self.hidden) if self.hidden else data

    def kept(self, given: bytes, present: bytes) -> bytes:
        """Return the data that is to replace the present one: what the caller does not see, or may not set, stays as it is.

        :param present: JSON; ``null`` where nothing was there.
        :raises StateDataInvalidError: it sets what is not the caller's to set.
        """
        closed = dict.fromkeys((*self.locked, *self.hidden))
        if closed and not is_object(given):
            raise StateDataInvalidError.at("", "must be an object: it has fields that are not yours to set or to see")
        if faults := [path for path in self.locked if self._sets(path, given, present)]:
            raise StateDataInvalidError(tuple(Violation(pointer(path), _NOT_YOURS) for path in faults))
        for path in closed:
            there, sent = find(present, path), find(given, path)
            if there.value is not None and sent.blocked is None and (path in self.locked or sent.value is None):
                given = with_value(given, path, there.value)
        return given

    def check_patch(self, patch: bytes, present: bytes) -> None:
        """Raise StateDataInvalidError for a merge patch that sets what is not the caller's to set."""
        if not self.locked or not patch:
            return
        if not is_object(patch):
            raise StateDataInvalidError.at("", "would replace fields that are not yours to set")
        if faults := [path for path in self.locked if self._sets(path, patch, present)]:
            raise StateDataInvalidError(tuple(Violation(pointer(path), _NOT_YOURS) for path in faults))

    def cover(self, error: StateDataInvalidError) -> StateDataInvalidError:
        """Return what the schema says, without what it says of a value that the caller does not see."""
        violations = (
            replace(found, detail=_HIDDEN) if touches(tuple(steps(found.pointer)), self.hidden) else found
            for found in error.violations
        )
        return StateDataInvalidError(tuple(violations))

    def _sets(self, path: Path, given: bytes, present: bytes) -> bool:
        """Return whether what is given says anything of the field but what the caller sees of it anyway."""
        sent, there = find(given, path), find(present, path)
        if sent.blocked is not None:  # it replaces what the field is in
            around = find(present, sent.blocked).value
            return around is not None and around.strip() != NULL
        if sent.value is None:
            return False
        return path in self.hidden or there.value is None or not is_same(sent.value, there.value)


NOTHING_CLOSED = Closed()


@dataclass(frozen=True, slots=True)
class FieldSight:
    """What is closed to one caller in a namespace."""

    subject: str = ""
    """Whose own objects are meant; empty: nobody's."""
    of_own: Closed = NOTHING_CLOSED
    of_others: Closed = NOTHING_CLOSED

    def of(self, owner: str) -> Closed:
        """Return what is closed of an owner's object."""
        return self.of_own if owner and owner == self.subject else self.of_others

    @property
    def depends_on_owner(self) -> bool:
        """Whether it matters whose an object is."""
        return self.of_own != self.of_others

    @property
    def mark(self) -> str:
        """What tells it from what others see: eight hexadecimal digits; nothing where all is shown."""
        hidden = (self.of_own.hidden, self.of_others.hidden)
        return f"{crc32(repr(hidden).encode()):08x}" if any(hidden) else ""

    def shows(self, state: StateRecord) -> StateRecord:
        """Return the object as the caller sees it."""
        closed = self.of(state.owner)
        if state.unreadable and closed.hidden:
            state = replace(state, unreadable=tuple(path for path in state.unreadable if not touches(path, closed.hidden)))
        data = closed.shows(state.data)
        return state if data is state.data else replace(state, data=data)

    def shows_entry(self, entry: HistoryEntry, *, is_own: bool) -> HistoryEntry:
        """Return what happened as the caller sees it.

        :param is_own: whether the object was the caller's then.
        """
        closed = self.of_own if is_own else self.of_others
        if not closed.hidden or not entry.data:
            return entry
        return replace(entry, data=closed.shows(entry.data))


ALL_SEEN = FieldSight()


class FieldRules:
    """The rules of a namespace's fields."""

    def __init__(self, declared: Sequence[FieldDeclaration], namespace: str = "") -> None:
        self._namespace = namespace
        self._rules: list[tuple[Path, AccessRule | None, AccessRule | None]] = [
            (path_of(field.name), field.read, field.write if field.write is not None else field.read)
            for field in declared
            if (field.read, field.write) != (None, None)
        ]
        self.withheld = Closed(tuple(path_of(field.name) for field in declared if not field.is_exported))
        """What is not given out with all that is kept of an object's owner, whoever may see it."""

    @property
    def is_any(self) -> bool:
        """Whether there is one."""
        return bool(self._rules)

    async def sight(self, access: AccessEvaluator, principal: Principal, key: str = "") -> FieldSight:
        """Return what is closed to the principal now. Raises UnavailableError where that cannot be told.

        :param key: of the object in question, on which something may be granted; empty: of all.
        """
        if not self._rules:
            return ALL_SEEN
        resource = state_object(self._namespace, key)
        hidden: list[tuple[Path, bool]] = []
        locked: list[tuple[Path, bool]] = []
        for path, read, write in self._rules:
            for rule, found in ((read, hidden), (write, locked)):
                if rule is not None and not await access.allows(rule, principal, resource=resource):
                    is_for_owners = bool(principal.subject) and await access.allows(rule, principal, principal.subject, resource)
                    found.append((path, is_for_owners))
        return FieldSight(
            "" if principal.is_anonymous else principal.subject,
            Closed(*(tuple(path for path, is_for_owners in found if not is_for_owners) for found in (hidden, locked))),
            Closed(*(tuple(path for path, _ in found) for found in (hidden, locked))),
        )


def open_indexes(indexes: Sequence[Index], closed: Closed) -> tuple[Index, ...]:
    """Return those that say nothing of what the caller does not see: no filter, no order and no page token is made of that."""
    return tuple(index for index in indexes if not any(touches(path, closed.hidden) for path in index.paths if path))


def touches(path: Path, closed: Collection[Path]) -> bool:
    """Return whether the path lies within one of the others, or one of them within it."""
    return any(path[: len(one)] == one[: len(path)] for one in closed)
