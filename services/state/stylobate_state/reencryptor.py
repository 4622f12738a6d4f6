"""Encrypting anew what is stored: with the newest key, and what was stored before its field was named."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
from stylobate.encryption import DataKeyStanding
from stylobate.json_members import Path, find, with_value
from stylobate.json_pointer import pointer
from stylobate.paging import no_token, page_position, page_token
from stylobate.stopping import check_cancelled

from stylobate_state.errors import StateContendedError, StateNamespaceUnknownError
from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.resealing import Resealing
from stylobate_state.sealing import Sealing, purpose_of
from stylobate_state.state_writer import MAX_TRIES
from stylobate_state.store.owner_keys import OwnerKeyCount
from stylobate_state.store.port import StateStore
from stylobate_state.store.resealing import EventPlace, EventText, ObjectText, ResealStore

_OBJECTS, _EVENTS = 50, 200
"""In one step."""
_BEFORE: Path = ("before", "data")
_IN_EVENTS: tuple[Path, ...] = (("data",), _BEFORE)
"""Where events hold data; ``delta`` holds a patch."""
_DELTA: Path = ("delta",)


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to."""

    looked: int
    reencrypted: int
    unreadable: Sequence[str]
    """Key and field of what cannot be opened."""
    next_place: str
    """Empty when there is nothing behind it."""


class _Said(msgspec.Struct):
    actor: str = ""
    owner: str | None = None


class _Whose:
    """Whose an object was, as its events say one after the other.

    :param subject: of the event before, and whose that was.
    """

    def __init__(self, subject: str, owner: str) -> None:
        self._subject = subject
        self.owner = owner

    def at(self, event: EventText) -> tuple[str, str]:
        """Return the owner after the event, and the one before it; empty: nobody's, or not known any more."""
        said = msgspec.json.decode(event.data, type=_Said)
        before = self.owner if event.key.key == self._subject else said.actor  # events of creations did not always say it
        self._subject = event.key.key
        self.owner = before if said.owner is None else said.owner
        return self.owner, before


class Reencryptor:
    """Goes through objects, then through the log, of one namespace after the other.

    Objects first: an event that is written meanwhile has the ciphertext of its object, which is the new one by then.

    :param texts: of the service's first database; ``apart``, of namespaces that stand in another one.
    :param ephemeral: namespaces that keep nothing for long.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        store: StateStore,
        sealing: Sealing,
        texts: ResealStore,
        *,
        apart: Mapping[str, ResealStore] = MappingProxyType({}),
        ephemeral: Collection[str] = (),
    ) -> None:
        self._namespaces = {name: one for name, one in namespaces.items() if one.encrypted and name not in ephemeral}
        self._store = store
        self._sealing = sealing
        self._resealing = Resealing(sealing)
        self._texts = texts
        self._apart = apart

    async def standings(self) -> list[DataKeyStanding]:
        """Return how the keys stand."""
        return await self._sealing.keys.standings() if self._sealing.keys is not None else []

    async def owner_keys(self) -> Sequence[OwnerKeyCount]:
        """Return how many keys of owners there are, by the purpose of the namespace's."""
        return await self._sealing.owners.counts() if self._sealing.owners is not None else ()

    async def begin(self) -> tuple[list[str], int]:
        """Make another key for each namespace, unless one is unfinished; return them, and how many keys were sealed anew."""
        if (keys := self._sealing.keys) is None:
            return [], 0
        resealed = await keys.reseal()
        await keys.begin_anew(*map(purpose_of, self._namespaces))
        return sorted(self._namespaces), resealed

    async def step(self, name: str, place: str) -> Step:
        """Do one step. Raises StateNamespaceUnknownError, InvalidInputError, StateContendedError."""
        if (namespace := self._namespaces.get(name)) is None:
            raise StateNamespaceUnknownError(name)
        kind, *behind = page_position(_about(name), place).split("\n") if place else ("o",)
        if kind == "o" and len(behind) in {0, 2}:
            return await self._objects(namespace, StateKey(behind[0], name, behind[1]) if behind else None)
        if kind == "e" and len(behind) == 4 and behind[2].isdecimal():  # noqa: PLR2004  tenant, key, version, owner
            return await self._log(namespace, EventPlace(behind[0], behind[1], int(behind[2])), behind[3])
        raise no_token()

    async def _objects(self, namespace: Namespace, after: StateKey | None) -> Step:
        scan = await self._store.scan(namespace.name, after, _OBJECTS)
        keys, unreadable, count = [key for key, _ in scan.versions], dict[str, None](), 0
        for _ in range(MAX_TRIES):
            check_cancelled()
            found = await self._store.read(keys)
            made: list[ObjectText] = []
            for state in found.values():
                if state.is_deleted:
                    continue
                data, faults = await self._resealing.anew(namespace, state.key, state.data, owner=state.owner)
                unreadable |= dict.fromkeys(f"{state.key.key} {pointer(path)}" for path in faults)
                if data is not state.data:
                    made.append(ObjectText(state.key, state.version, data))
            done = await self._of(namespace.name).replace_objects(made)
            count += done
            if done == len(made):  # else some were changed meanwhile: seen as they stand then
                break
            keys = [one.key for one in made]
        else:
            raise StateContendedError(namespace.name, keys[0].key)
        position = "e\n\n\n0\n" if scan.place is None else f"o\n{scan.place.tenant}\n{scan.place.key}"
        return Step(scan.looked, count, [*unreadable], page_token(_about(namespace.name), position))

    async def _log(self, namespace: Namespace, after: EventPlace, owner: str) -> Step:
        texts = self._of(namespace.name)
        events = await texts.events(namespace.name, after, _EVENTS)
        made, unreadable, whose = [], dict[str, None](), _Whose(after.subject, owner)
        for event in events:
            owner, before = whose.at(event)
            text, faults = await self._event(namespace, event.key, event.data, owner, before)
            unreadable |= dict.fromkeys(f"{event.key.key} version {event.version} {pointer(path)}" for path in faults)
            if text is not event.data:
                made.append((event, text))
        count = await texts.replace_events(made)
        if not events:
            if self._sealing.keys is not None:
                await self._sealing.keys.finish(purpose_of(namespace.name))
            return Step(0, 0, (), "")
        last = events[-1]
        position = f"e\n{last.key.tenant}\n{last.key.key}\n{last.version}\n{whose.owner}"
        return Step(len(events), count, [*unreadable], page_token(_about(namespace.name), position))

    async def _event(self, namespace: Namespace, key: StateKey, text: bytes, owner: str, before: str) -> tuple[bytes, list[Path]]:
        unreadable: list[Path] = []
        for place in (*_IN_EVENTS, _DELTA):
            inner = find(text, place).value
            if inner is not None:
                data, faults = await self._resealing.anew(
                    namespace, key, inner, owner=before if place == _BEFORE else owner, is_patch=place == _DELTA
                )
                unreadable += faults
                text = text if data is inner else with_value(text, place, data)
        return text, unreadable

    def _of(self, name: str) -> ResealStore:
        return self._apart.get(name, self._texts)


def _about(name: str) -> tuple[str, ...]:
    return ("reencrypt", name)
