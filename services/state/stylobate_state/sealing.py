"""Fields that are stored sealed: sealed before a change is written, opened where its data is used.

Between the two, in rows, events, copies, answers that are kept, and projections, there is nothing but ciphertext. A value is
sealed for one place: tenant, namespace, key and path. What stands elsewhere does not open.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec
import orjson
from stylobate.bounded_dict import BoundedDict
from stylobate.encryption import DataKey, DataKeys, KeyNotOpenedError, SealedInvalidError, is_sealed, key_id_of
from stylobate.json_members import Path, find, mapped
from stylobate.json_pointer import pointer
from stylobate.logs import get_logger
from stylobate.telemetry import counter

from stylobate_state.errors import StateFieldUnreadableError, StateKeyUnavailableError
from stylobate_state.model import HistoryEntry, StateKey, StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.store.jsonb import as_jsonb

_MOST_KNOWN, _SHORT = 256, 4096
"""Objects, and bytes of each."""
_MARK = b'"sealed.'
_log = get_logger("app")


def purpose_of(namespace: str) -> str:
    """Return what the data keys of a namespace are for."""
    return f"state/{namespace}"


class Sealing:
    """Seals the fields that namespaces say, and opens them.

    :param keys: None: there are none, and no namespace that needs any.
    """

    def __init__(self, keys: DataKeys | None = None) -> None:
        self.keys = keys
        self._known_by_heart = BoundedDict[tuple[StateKey, bytes], bytes](_MOST_KNOWN)
        """What was opened last: a change opens what it builds on, and its answer, which often is the same."""
        if keys is not None:
            keys.on_forgotten(self._known_by_heart.clear)
        self._unreadable = counter("state_fields_unreadable", "Sealed fields that could not be opened.", ("namespace",))

    async def sealed(
        self, namespace: Namespace, key: StateKey, data: bytes, *, opened: bytes = b"", stored: bytes = b""
    ) -> bytes:
        """Return the data as it is to be stored. What is unchanged keeps its ciphertext, as long as its key is in use.

        :param opened: data of before; empty: there was none. :param stored: the same, as it is stored.
        :raises StateKeyUnavailableError: the key cannot be had.
        """
        if not namespace.encrypted:
            return data
        current = await self._current(namespace)

        def seal(path: Path, value: bytes) -> bytes:
            if opened and find(opened, path).value == value:
                before = find(stored, path).value
                if before is not None and (kept := _sealed_text(before)) is not None and kept.split(".", 3)[2] == current.id:
                    return before
            return orjson.dumps(self._known.seal(current, _canonical(value), _about(key, path)))

        return mapped(data, namespace.encrypted, seal)

    async def opened(self, states: Sequence[tuple[Namespace, StateRecord]]) -> list[tuple[Namespace, StateRecord]]:
        """Return the objects with their fields opened; what cannot be is left out of the data, and named in the object.

        Raises StateKeyUnavailableError.
        """
        return [(namespace, await self.one(namespace, state)) for namespace, state in states]

    async def one(self, namespace: Namespace, state: StateRecord) -> StateRecord:
        """Return the object with its fields opened, as :meth:`opened` does."""
        if not namespace.encrypted or _MARK not in state.data:
            return state
        data, unreadable = await self._opened(namespace, state.key, state.data)
        return replace(state, data=data, unreadable=unreadable)

    async def whole(self, namespace: Namespace, state: StateRecord) -> StateRecord:
        """Return the object with its fields opened. Raises StateFieldUnreadableError, StateKeyUnavailableError."""
        opened = await self.one(namespace, state)
        if opened.unreadable:
            raise StateFieldUnreadableError(state.key, opened.unreadable)
        return opened

    async def data(self, namespace: Namespace, key: StateKey, data: bytes) -> bytes:
        """Return data with its fields opened. Raises StateFieldUnreadableError, StateKeyUnavailableError."""
        if not namespace.encrypted or _MARK not in data:
            return data
        found, unreadable = await self._opened(namespace, key, data)
        if unreadable:
            raise StateFieldUnreadableError(key, unreadable)
        return found

    async def entry(self, namespace: Namespace, key: StateKey, entry: HistoryEntry) -> HistoryEntry:
        """Return what happened with its fields opened; what cannot be is left out. Raises StateKeyUnavailableError."""
        if not namespace.encrypted or _MARK not in entry.data:
            return entry
        return replace(entry, data=(await self._opened(namespace, key, entry.data))[0])

    async def anew(
        self, namespace: Namespace, key: StateKey, data: bytes, *, is_patch: bool = False
    ) -> tuple[bytes, Sequence[Path]]:
        """Return stored data with its fields sealed with the key of now, the very same where they are; and what cannot be opened.

        :param is_patch: whether null stands for what is taken away.
        """
        current = await self._current(namespace)
        missing: list[str] = []
        unreadable: list[Path] = []

        def seal(path: Path, value: bytes) -> bytes:
            if is_patch and value == b"null":
                return value
            text, about = _sealed_text(value), _about(key, path)
            if text is None:  # from before the field was said to be encrypted
                return orjson.dumps(self._known.seal(current, _canonical(value), about))
            found = None
            with suppress(SealedInvalidError):
                if key_id_of(text) == current.id:
                    return value
                found = self._known.opened(text, about)
                missing.extend([text] if found is None else ())
            if found is None:
                unreadable.append(path)
                return value
            return orjson.dumps(self._known.seal(current, found, about))

        made = mapped(data, namespace.encrypted, seal)
        if missing:
            unreadable.clear()
            await self._known.fetch(missing)
            made = mapped(data, namespace.encrypted, seal)
        return made, unreadable

    async def _opened(self, namespace: Namespace, key: StateKey, data: bytes) -> tuple[bytes, tuple[Path, ...]]:
        """Return the data with its fields opened, and those that cannot be, which it lacks."""
        if (known := self._known_by_heart.get((key, data))) is not None:
            return known, ()
        missing: list[str] = []
        unreadable: dict[Path, str] = {}

        def open_(path: Path, value: bytes) -> bytes | None:
            text = _sealed_text(value)
            if text is None:
                return value  # from before the field was said to be encrypted
            try:
                found = self._known.opened(text, _about(key, path))
            except SealedInvalidError as error:
                unreadable[path] = str(error)
                return None
            if found is None:
                missing.append(text)
                unreadable[path] = "its key is not kept here, or cannot be opened"
            return found

        opened = mapped(data, namespace.encrypted, open_)
        if missing:
            unreadable.clear()
            await self._known.fetch(missing)
            opened = mapped(data, namespace.encrypted, open_)
        for path, why in unreadable.items():
            self._unreadable.labels(namespace.name).inc()
            _log.error("state_field_unreadable", namespace=namespace.name, key=key.key, field=pointer(path), error=why)
        if not unreadable and len(data) <= _SHORT:
            self._known_by_heart.put((key, data), opened)
        return opened, tuple(unreadable)

    async def _current(self, namespace: Namespace) -> DataKey:
        try:
            return await self._known.current(purpose_of(namespace.name))
        except KeyNotOpenedError:
            raise StateKeyUnavailableError(namespace.name) from None

    @property
    def _known(self) -> DataKeys:
        if self.keys is None:
            raise AssertionError("a namespace with encrypted fields was bound without keys")
        return self.keys


NO_SEALING = Sealing()
"""For where no namespace has encrypted fields."""


def _sealed_text(value: bytes) -> str | None:
    """Return the text of a JSON value that has the form of a sealed one."""
    if not value.lstrip().startswith(_MARK):
        return None
    text = msgspec.json.decode(value, type=str)
    return text if is_sealed(text) else None


def _canonical(value: bytes) -> bytes:
    """Return a value as the database would write it, so that it is read back as any other is."""
    return value if value[:1] == b'"' and b"\\" not in value else as_jsonb(value)


def _about(key: StateKey, path: Path) -> bytes:
    return "\0".join(("state", *key, pointer(path))).encode()
