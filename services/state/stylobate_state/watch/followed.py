"""Which objects a watch with filters follows: what their fields must be, before a change and after it."""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from stylobate.declarations.indexes import OWN_FIELDS, TEXT, path_of

from stylobate_state.aside import moment, read_aside
from stylobate_state.filters import Condition, Points
from stylobate_state.index_encoding import encode, members, value_of
from stylobate_state.watch.told import FieldsUnknownError, ForgottenError, Happened

_OWN = OWN_FIELDS.keys() - {"status"}


@dataclass(frozen=True, slots=True)
class Followed:
    """Conditions on fields, all of which must hold; none: every object is followed.

    They are held against what is stored, as the entries of indexes are, so that a snapshot and what follows it agree.
    """

    kinds: Mapping[str, str]
    """Of each field that may be asked for."""
    conditions: Mapping[str, Condition]

    @property
    def seeks_owners(self) -> bool:
        """Whether the conditions could find owners that the caller does not name."""
        return "owner" in self.conditions and not isinstance(self.conditions["owner"], Points)

    def held(self, happened: Happened) -> bool:
        """Return whether they held before it happened, for something that was there; what is not known may have.

        So an object may leave that its reader never had: no harm, while one that stayed would be wrong from then on.
        """
        if not self.conditions:
            return True
        was = read_aside(happened.aside).was
        from_status = happened.entry.from_status
        return all(
            self._is_met(name, encode(from_status))
            if name == "status"
            else name not in was or self._is_met(name, self._bytes(name, was[name]))
            for name in self.conditions
        )

    def hold(self, happened: Happened) -> bool:
        """Return whether they hold since it happened, for something that is there.

        :raises ForgottenError: its data is not kept any more. :raises FieldsUnknownError: what must be known was not written.
        """
        if not self.conditions:
            return True
        entry = happened.entry
        if entry.is_forgotten:
            raise ForgottenError
        if "status" in self.conditions and not self._is_met("status", encode(entry.to_status)):
            return False
        names = [name for name in self.conditions if name not in OWN_FIELDS]
        values = members(entry.data, [path_of(name) for name in names])
        if not all(self._is_met(name, encode(value_of(self.kinds[name], raw))) for name, raw in zip(names, values, strict=True)):
            return False
        own = self.conditions.keys() & _OWN
        now_is = read_aside(happened.aside).now_is if own else {}
        if own - now_is.keys():
            raise FieldsUnknownError
        return all(self._is_met(name, self._bytes(name, now_is[name])) for name in own)

    def _is_met(self, name: str, value: bytes) -> bool:
        condition = self.conditions[name]
        return value in condition.values if isinstance(condition, Points) else condition.low <= value < condition.high

    def _bytes(self, name: str, raw: msgspec.Raw) -> bytes:
        """Return a field that stands aside as an index has it."""
        text = bytes(raw)
        is_time = name in _OWN and self.kinds[name] != TEXT
        return encode(moment(text) if is_time else value_of(self.kinds[name], text))


EVERYTHING = Followed({}, {})
