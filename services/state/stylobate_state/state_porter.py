"""Objects given out and taken in as they are stored, for operators: from one database to another."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stylobate.errors import InvalidInputError, StylobateError, Violation
from stylobate.rpc.call import NO_CAUSE
from stylobate.strict_json import loads

from stylobate_state.errors import (
    StateDataInvalidError,
    StateImportRefusedError,
    StateSchemaNewerError,
    StateUpgradeFailedError,
)
from stylobate_state.model import Change, NotUnique, StateKey, StateRecord, TooLong, Write, Written
from stylobate_state.namespace import Namespace, check_key
from stylobate_state.state_writer import Environment, StateWriter
from stylobate_state.upgrades import Fault

MOST = 50
"""Objects at a time: what a message holds of them, however long they are."""
_ITSELF = "service:state"


@dataclass(frozen=True, slots=True)
class Carried:
    """An object without its version, its times and its history."""

    tenant: str
    key: str
    data: bytes
    status: str = ""
    owner: str = ""
    schema_version: int = 0
    """0: that of today."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one was not taken in."""

    index: int
    error: StylobateError


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of an import."""

    written: int
    unchanged: int
    refusals: Sequence[Refusal]


class StatePorter:
    """Gives out and takes in. Nobody's access is asked; schema, statuses, keys and unique indexes are."""

    def __init__(self, environment: Environment, writer: StateWriter) -> None:
        self._environment = environment
        self._store = environment.store
        self._writer = writer

    async def give(self, namespace: Namespace, after: StateKey | None) -> tuple[list[StateRecord], StateKey | None]:
        """Return some living objects behind a place as they are stored, opened, and the place to go on behind; None: that is all.

        Raises StateFieldUnreadableError, which names the object: nothing is left out.
        """
        scan = await self._store.scan(namespace.name, after, MOST)
        keys = [key for key, _ in scan.versions]
        found = await self._store.read(keys)
        living = [found[key] for key in keys if key in found and not found[key].is_deleted]
        return [await self._environment.sealing.whole(namespace, state) for state in living], scan.place

    async def take(self, namespace: Namespace, carried: Sequence[Carried], *, replaces: bool) -> Imported:
        """Write each by itself, as a change of its own. One that is there already in just that way is passed over.

        :param replaces: whether data is replaced where status and owner are the same.
        :raises InvalidInputError: more than 50. :raises StateUpgradeUnavailableError: there is older data, and the module does
            not answer; nothing was written.
        """
        if len(carried) > MOST:
            raise InvalidInputError(violations=[Violation("/states", f"has more than {MOST} entries")])
        wanted, refusals = await self._read(namespace, carried)
        stored = await self._store.read([state.key for state in wanted.values()])
        present = {key: await self._environment.sealing.one(namespace, state) for key, state in stored.items()}
        writes: dict[int, Write] = {}
        unchanged = 0
        for index, state in wanted.items():
            live = present.get(state.key)
            if live is None or live.is_deleted:
                writes[index] = await self._write(namespace, state, None)
            elif _is_same(state, live):
                unchanged += 1
            elif (refused := _refused(state, live, replaces=replaces)) is not None:
                refusals.append(Refusal(index, refused))
            else:
                writes[index] = await self._write(namespace, state, live)
        outcomes = await asyncio.gather(*(self._writer.submit((write,)) for write in writes.values()))
        written = 0
        for (index, write), (outcome,) in zip(writes.items(), outcomes, strict=True):
            if isinstance(outcome, Written):
                written += 1
                continue
            said = "was changed, or made, by another meanwhile"
            if isinstance(outcome, NotUnique):
                said = f"has values of {outcome.holder.key} in the unique index ({outcome.index})"
            elif isinstance(outcome, TooLong):
                said = f"has values that are too long for the index ({outcome.index})"
            refusals.append(Refusal(index, StateImportRefusedError(write.key, said)))
        return Imported(written, unchanged, sorted(refusals, key=lambda refusal: refusal.index))

    async def _read(self, namespace: Namespace, carried: Sequence[Carried]) -> tuple[dict[int, StateRecord], list[Refusal]]:
        """Return what is to stand there, by its place in the list, as data of today; and what cannot."""
        wanted: dict[int, StateRecord] = {}
        refusals: list[Refusal] = []
        for index, one in enumerate(carried):
            try:
                wanted[index] = self._meant(namespace, one)
            except StylobateError as error:
                refusals.append(Refusal(index, error))
        older = [index for index, state in wanted.items() if state.schema_version < namespace.schema_version]
        if older:
            upgraded = await self._environment.upgrades.upgraded(namespace, [wanted[index] for index in older])
            for index, found in zip(older, upgraded, strict=True):
                if isinstance(found, Fault):
                    before = wanted.pop(index)
                    refusals.append(Refusal(index, StateUpgradeFailedError(before.key, before.schema_version)))
                else:
                    wanted[index] = found
        for index in [index for index in wanted if index not in older]:
            try:
                namespace.check(wanted[index].data)
            except StateDataInvalidError as error:
                del wanted[index]
                refusals.append(Refusal(index, error))
        return wanted, refusals

    def _meant(self, namespace: Namespace, one: Carried) -> StateRecord:
        check_key(one.key)
        namespace.check_new_key(one.key)
        key = StateKey(one.tenant, namespace.name, one.key)
        namespace.check_status(one.status)
        if one.schema_version > namespace.schema_version:
            raise StateSchemaNewerError(key, one.schema_version)
        if not one.tenant or one.schema_version < 0:
            raise StateImportRefusedError(key, "lacks a tenant, or has a schema version below 1")
        namespace.parse(one.data)
        now = self._environment.clock()
        return StateRecord(
            key,
            0,
            one.status or namespace.machine.initial,
            one.data,
            one.owner,
            now,
            now,
            schema_version=one.schema_version or namespace.schema_version,
        )

    async def _write(self, namespace: Namespace, state: StateRecord, live: StateRecord | None) -> Write:
        made = Write(
            key=state.key,
            change=Change.CREATED,
            expected=0,
            owner=state.owner,
            status=state.status,
            data=await self._environment.sealing.sealed(namespace, state.key, state.data, owner=state.owner),
            actor=_ITSELF,
            event_id=self._environment.new_id(),
            schema_version=namespace.schema_version,
            timers=namespace.timers.get(state.status, ()),
            beside=namespace.beside(NO_CAUSE),
        )
        if live is None:
            return made
        return replace(made, change=Change.UPDATED, expected=live.version, status=None, timers=())


def _is_same(state: StateRecord, live: StateRecord) -> bool:
    about = (state.status, state.owner, state.schema_version)
    return about == (live.status, live.owner, live.schema_version) and loads(state.data) == loads(live.data)


def _refused(state: StateRecord, live: StateRecord, *, replaces: bool) -> StateImportRefusedError | None:
    if not replaces:
        return StateImportRefusedError(state.key, f"is there already, at version {live.version}, and is another")
    if (state.status, state.owner) != (live.status, live.owner):
        return StateImportRefusedError(state.key, "is there already with another status or owner, which no import changes")
    return None
