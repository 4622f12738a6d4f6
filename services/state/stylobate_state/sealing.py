"""Fields that are stored sealed: sealed before a change is written, opened where its data is used.

Between the two, in rows, events, copies, answers that are kept, and projections, there is nothing but ciphertext. A value is
sealed for one place: tenant, namespace, key and path. What stands elsewhere does not open.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from time import monotonic

import msgspec
from stylobate.bounded_dict import BoundedDict
from stylobate.encryption import DataKey, DataKeys, KeyNotOpenedError, SealedInvalidError, is_sealed, sealed_by
from stylobate.errors import StylobateError
from stylobate.json_members import Path, find, mapped
from stylobate.json_pointer import pointer
from stylobate.logs import get_logger
from stylobate.telemetry import counter

from stylobate_state.errors import StateFieldForgottenError, StateFieldUnreadableError, StateKeyUnavailableError
from stylobate_state.model import HistoryEntry, StateKey, StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.owner_keys import OwnerKeys, of_owner
from stylobate_state.store.jsonb import as_jsonb

_MOST_KNOWN, _SHORT = 1024, 1024
"""Values, and characters of each as it is sealed."""
_MARK = b'"sealed.'
_log = get_logger("app")
_pointer = lru_cache(4096)(pointer)


def purpose_of(namespace: str) -> str:
    """Return what the data keys of a namespace are for."""
    return f"state/{namespace}"


class Sealing:
    """Seals the fields that namespaces say, and opens them.

    :param keys: None: there are none, and no namespace that needs any.
    """

    def __init__(self, keys: DataKeys | None = None, owners: OwnerKeys | None = None) -> None:
        self.keys = keys
        self.owners = owners
        """Of namespaces whose data is sealed with a key for each owner; None: there are no such."""
        self._known_by_heart = BoundedDict[str, tuple[bytes, bytes]](_MOST_KNOWN)
        """What was sealed and opened last, each with what it is bound to: a change opens what it builds on, and its answer."""
        if keys is not None:
            keys.on_forgotten(self._known_by_heart.clear)
        self._unreadable = counter("state_fields_unreadable", "Sealed fields that could not be opened.", ("namespace",))

    async def sealed(
        self, namespace: Namespace, key: StateKey, data: bytes, *, owner: str, opened: bytes = b"", stored: bytes = b""
    ) -> bytes:
        """Return the data as it is to be stored. What is unchanged keeps its ciphertext, as long as its key is in use.

        :param owner: whose it is to be.
        :param opened: data of before; empty: there was none. :param stored: the same, as it is stored.
        :raises StateKeyUnavailableError: the key cannot be had.
        """
        if not namespace.encrypted:
            return data
        current = await self.current(namespace, key, owner)
        prefix = sealed_by(current.id)

        def seal(path: Path, value: bytes) -> bytes:
            about, before = about_of(key, path), find(stored, path).value
            if before is not None and (kept := sealed_text(before)) is not None and kept.startswith(prefix):
                known_about, was = self._known_by_heart.get(kept, (b"", b""))
                if value == (was if known_about == about else find(opened, path).value):
                    return before
            plain = canonical(value)
            text = self.known.seal(current, plain, about)
            self._remember(text, about, plain)
            return b'"' + text.encode() + b'"'

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
        data, unreadable, is_forgotten = await self._opened(namespace, state.key, state.data)
        return state.opened(data, unreadable, is_forgotten=is_forgotten)

    async def whole(self, namespace: Namespace, state: StateRecord) -> StateRecord:
        """Return the object with its fields opened. Raises StateField…Error, StateKeyUnavailableError."""
        opened = await self.one(namespace, state)
        if opened.unreadable:
            raise unreadable_error(opened)
        return opened

    async def data(self, namespace: Namespace, key: StateKey, data: bytes) -> bytes:
        """Return data with its fields opened. Raises StateField…Error, StateKeyUnavailableError."""
        if not namespace.encrypted or _MARK not in data:
            return data
        found, unreadable, is_forgotten = await self._opened(namespace, key, data)
        if unreadable:
            raise (StateFieldForgottenError if is_forgotten else StateFieldUnreadableError)(key, unreadable)
        return found

    async def entry(self, namespace: Namespace, key: StateKey, entry: HistoryEntry) -> HistoryEntry:
        """Return what happened with its fields opened; what cannot be is left out. Raises StateKeyUnavailableError."""
        if not namespace.encrypted or _MARK not in entry.data:
            return entry
        return replace(entry, data=(await self._opened(namespace, key, entry.data))[0])

    async def destroy(self, namespace: Namespace, tenant: str, owner: str) -> None:
        """Destroy what an owner's data was sealed with, where the namespace seals it with a key for each."""
        if namespace.per_owner and self.owners is not None:
            await self.owners.destroy(purpose_of(namespace.name), tenant, owner)

    async def _opened(self, namespace: Namespace, key: StateKey, data: bytes) -> tuple[bytes, tuple[Path, ...], bool]:
        """Return the data with its fields opened, those that cannot be, which it lacks, and whether their keys were destroyed."""
        at = monotonic()
        missing: list[str] = []
        destroyed: set[Path] = set()
        unreadable: dict[Path, str] = {}

        def open_(path: Path, value: bytes) -> bytes | None:
            text = sealed_text(value)
            if text is None:
                return value  # from before the field was said to be encrypted
            try:
                found = self.open(text, about_of(key, path), at)
            except SealedInvalidError as error:
                unreadable[path] = str(error)
                return None
            if found is None:
                missing.append(text)
                unreadable[path] = "its key is not kept here, or cannot be opened"
                destroyed.update([path] if self._is_destroyed(text) else ())
            return found

        opened = mapped(data, namespace.encrypted, open_)
        if missing:
            unreadable.clear()
            await self.fetch(missing)
            destroyed.clear()
            opened = mapped(data, namespace.encrypted, open_)
        for path in unreadable.keys() - destroyed:
            self._unreadable.labels(namespace.name).inc()
            error = unreadable[path]
            _log.error("state_field_unreadable", namespace=namespace.name, key=key.key, field=pointer(path), error=error)
        return opened, tuple(unreadable), bool(unreadable) and destroyed.issuperset(unreadable)

    def _is_destroyed(self, text: str) -> bool:
        return self.owners is not None and self.owners.is_destroyed(text)

    def open(self, text: str, about: bytes, at: float) -> bytes | None:
        """Return what was sealed; None: its key is not at hand. Raises SealedInvalidError."""
        owners = self.owners if of_owner(text) else None
        if owners is not None and not owners.is_at_hand(text, at):
            return None
        if owners is not None:
            return owners.opened(text, about)
        if (known := self._known_by_heart.get(text)) is not None and known[0] == about:
            return known[1]
        found = self.known.opened(text, about)
        if found is not None:
            self._remember(text, about, found)
        return found

    def _remember(self, text: str, about: bytes, value: bytes) -> None:
        if len(text) <= _SHORT and not of_owner(text):  # what is an owner's goes from here, too, when its key does
            self._known_by_heart.put(text, (about, value))

    async def fetch(self, texts: Sequence[str]) -> None:
        """Have the keys at hand, as far as they are kept. Raises UnavailableError."""
        if self.owners is not None:
            await self.owners.fetch(filter(of_owner, texts))
        await self.known.fetch([text for text in texts if not of_owner(text)])

    async def current(self, namespace: Namespace, key: StateKey, owner: str) -> DataKey:
        """Return the key that seals what is an owner's. Raises StateKeyUnavailableError."""
        try:
            if namespace.per_owner and owner and self.owners is not None:
                return await self.owners.current(purpose_of(namespace.name), key.tenant, owner)
            return await self.known.current(purpose_of(namespace.name))
        except KeyNotOpenedError:
            raise StateKeyUnavailableError(namespace.name) from None

    @property
    def known(self) -> DataKeys:
        """The data keys, where there are any."""
        if self.keys is None:
            raise AssertionError("a namespace with encrypted fields was bound without keys")
        return self.keys


def unreadable_error(state: StateRecord) -> StylobateError:
    """Return the error for an object with fields that cannot be opened."""
    kind = StateFieldForgottenError if state.is_forgotten else StateFieldUnreadableError
    return kind(state.key, state.unreadable)


NO_SEALING = Sealing()
"""For where no namespace has encrypted fields."""


def sealed_text(value: bytes) -> str | None:
    """Return the text of a JSON value that has the form of a sealed one."""
    if not (value.startswith(_MARK) or value.lstrip().startswith(_MARK)):
        return None
    is_plain = value[:1] == b'"' and b"\\" not in value
    text = value[1:-1].decode() if is_plain else msgspec.json.decode(value, type=str)
    return text if is_sealed(text) else None


def canonical(value: bytes) -> bytes:
    """Return a value as the database would write it, so that it is read back as any other is."""
    return value if value[:1] == b'"' and b"\\" not in value else as_jsonb(value)


def about_of(key: StateKey, path: Path) -> bytes:
    """Return what a value at a path of an object is bound to."""
    return f"state\0{key.tenant}\0{key.namespace}\0{key.key}\0{_pointer(path)}".encode()
