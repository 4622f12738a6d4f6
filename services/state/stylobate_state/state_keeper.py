"""Looking after stored objects: moving them to the schema version of today, and finding those that are not what is declared."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stylobate.json_pointer import pointer
from stylobate.paging import no_token, page_position, page_token
from stylobate.rpc.call import NO_CAUSE
from stylobate.stopping import check_cancelled

from stylobate_state.errors import StateContendedError, StateDataInvalidError, StateNamespaceUnknownError
from stylobate_state.model import Change, NotUnique, Scan, StateKey, StateRecord, TooLong, Write, Written
from stylobate_state.namespace import Namespace
from stylobate_state.state_porter import StatePorter
from stylobate_state.state_writer import MAX_TRIES, Environment, StateWriter
from stylobate_state.upgrades import Fault

_LOOK = 2000
"""Keys that are looked at in one step."""
_READ = 50
"""Objects whose data is held at once."""
_MOVE = 200
"""Objects that are moved in one step: a step is soon done, and others write meanwhile."""
_ITSELF = "service:state"
_UNREADABLE = "an encrypted field of it cannot be opened"


@dataclass(frozen=True, slots=True)
class Found:
    """Something about an object."""

    key: StateKey
    version: int
    schema_version: int
    problem: str


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to."""

    looked: int
    findings: Sequence[Found]
    next_place: str
    """Empty when there is nothing behind it."""
    schema_version: int
    migrated: int = 0


class StateKeeper:
    """Goes through namespaces, of all tenants, for operators. Nobody's access is asked.

    :param writer: carries out moves, together with what else is written at the time.
    """

    def __init__(self, namespaces: Mapping[str, Namespace], environment: Environment, writer: StateWriter) -> None:
        self._namespaces = namespaces
        self._environment = environment
        self._store = environment.store
        self._writer = writer
        self.porter = StatePorter(environment, writer)
        """Gives objects out and takes them in."""

    async def migrate(self, name: str, place: str) -> Step:
        """Move some objects of older schema versions to that of today, each for exactly the version that was seen.

        :raises StateNamespaceUnknownError: nothing declares it. :raises InvalidInputError: the place is one of another namespace.
        :raises StateUpgradeUnavailableError: the module does not answer; what was moved before stays.
        """
        namespace = self.namespace(name)
        scan = await self._store.scan(name, _behind(namespace, place), _LOOK)
        outdated = [key for key, version in scan.versions if version < namespace.schema_version]
        scan = _cut(scan, outdated)
        findings: list[Found] = []
        migrated = 0
        for start in range(0, len(outdated[:_MOVE]), _READ):
            check_cancelled()
            moved, found = await self._move(namespace, outdated[start : min(start + _READ, _MOVE)])
            migrated += moved
            findings += found
        return Step(scan.looked, findings, _place(namespace, scan), namespace.schema_version, migrated)

    async def check(self, name: str, place: str) -> Step:
        """Find living objects that are not what the namespace declares. Raises what :meth:`migrate` raises."""
        namespace = self.namespace(name)
        scan = await self._store.scan(name, _behind(namespace, place), _MOVE)
        keys = [key for key, _ in scan.versions]
        findings: list[Found] = []
        for start in range(0, len(keys), _READ):
            check_cancelled()
            findings += await self._check(namespace, keys[start : start + _READ])
        return Step(scan.looked, findings, _place(namespace, scan), namespace.schema_version)

    async def _move(self, namespace: Namespace, keys: Sequence[StateKey]) -> tuple[int, list[Found]]:
        """Move the objects, again where others were faster; return how many were moved here, and those that cannot be."""
        findings: list[Found] = []
        migrated = 0
        for attempt in range(MAX_TRIES):
            await self._writer.pause_before(attempt)
            seen = await self._store.read(keys)
            states = [
                state for state in seen.values() if not state.is_deleted and state.schema_version < namespace.schema_version
            ]
            upgraded, faulty = await self._upgraded(namespace, states)
            findings += [_found(state, _UNREADABLE) for state in faulty]
            states = [state for state in states if state not in faulty]
            ready = [state for state in upgraded if not isinstance(state, Fault)]
            faults = zip(states, upgraded, strict=True)
            findings += [_found(state, fault.reason) for state, fault in faults if isinstance(fault, Fault)]
            writes = [await self._write(namespace, state) for state in ready]
            outcomes = await asyncio.gather(*(self._writer.submit((write,)) for write in writes))
            lost: list[StateKey] = []
            for before, (outcome,) in zip(ready, outcomes, strict=True):
                if isinstance(outcome, Written):
                    migrated += 1
                elif isinstance(outcome, (NotUnique, TooLong)):
                    findings.append(_found(seen[before.key], _in_the_way(outcome)))
                else:
                    lost.append(before.key)
            if not lost:
                return migrated, findings
            keys = lost
        raise StateContendedError(keys[0].namespace, keys[0].key)

    async def _upgraded(
        self, namespace: Namespace, states: Sequence[StateRecord]
    ) -> tuple[list[StateRecord | Fault], list[StateRecord]]:
        """Return what the upgrade made of the objects, without those whose encrypted fields cannot be opened, and these."""
        opened = [state for _, state in await self._environment.sealing.opened([(namespace, state) for state in states])]
        readable = [state for state in opened if not state.unreadable]
        faulty = [state for state, one in zip(states, opened, strict=True) if one.unreadable]
        return await self._environment.upgrades.upgraded(namespace, readable) if readable else [], faulty

    async def _write(self, namespace: Namespace, state: StateRecord) -> Write:
        return Write(
            key=state.key,
            change=Change.MIGRATED,
            expected=state.version,
            owner=state.owner,
            status=None,
            data=await self._environment.sealing.sealed(namespace, state.key, state.data, owner=state.owner),
            actor=_ITSELF,
            event_id=self._environment.new_id(),
            schema_version=state.schema_version,
            beside=namespace.beside(NO_CAUSE),
        )

    async def _check(self, namespace: Namespace, keys: Sequence[StateKey]) -> list[Found]:
        found = await self._store.read(keys)
        stored = [(namespace, found[key]) for key in keys if key in found and not found[key].is_deleted]
        states = [state for _, state in await self._environment.sealing.opened(stored)]
        outdated = [state for state in states if state.schema_version < namespace.schema_version and not state.unreadable]
        upgraded = await self._environment.upgrades.upgraded(namespace, outdated) if outdated else []
        faults = {state.key: fault.reason for state, fault in zip(outdated, upgraded, strict=True) if isinstance(fault, Fault)}
        faults |= {
            state.key: f"{_UNREADABLE}: {', '.join(map(pointer, state.unreadable))}" for state in states if state.unreadable
        }
        problems = ((state, faults.get(state.key) or _problem(namespace, state)) for state in states)
        return [_found(state, problem) for state, problem in problems if problem]

    def namespace(self, name: str) -> Namespace:
        """Return what is declared. Raises StateNamespaceUnknownError."""
        if (found := self._namespaces.get(name)) is None:
            raise StateNamespaceUnknownError(name)
        return found


def _problem(namespace: Namespace, state: StateRecord) -> str:
    """Return what of the object is not as declared, its upgrade aside; empty: nothing."""
    if state.status and state.status not in namespace.statuses:
        return f"its status `{state.status}` is not one of this namespace"
    if not state.status and namespace.statuses:
        return "it has no status; the namespace had no machine when it was created"
    if state.schema_version > namespace.schema_version:
        return f"it was written under schema version {state.schema_version}, which is newer"
    if state.schema_version < namespace.schema_version:
        return ""
    try:
        namespace.check(state.data)
    except StateDataInvalidError as error:
        return error.told
    return ""


def _in_the_way(outcome: NotUnique | TooLong) -> str:
    if isinstance(outcome, TooLong):
        return f"its values are too long for the index ({outcome.index})"
    return f"{outcome.holder.key} has the same values in the unique index ({outcome.index})"


def _found(state: StateRecord, problem: str) -> Found:
    return Found(state.key, state.version, state.schema_version, problem)


def _cut(scan: Scan, outdated: Sequence[StateKey]) -> Scan:
    """Return the part of a scan that ends with the last object that one step moves."""
    if len(outdated) <= _MOVE:
        return scan
    last = outdated[_MOVE - 1]
    looked = sum(key <= last for key, _ in scan.versions)
    return Scan(scan.versions, looked, last)


def _behind(namespace: Namespace, place: str) -> StateKey | None:
    position = page_position(_about(namespace), place)
    if not position:
        return None
    tenant, mark, key = position.partition("\n")
    if not mark:
        raise no_token()
    return StateKey(tenant, namespace.name, key)


def _place(namespace: Namespace, scan: Scan) -> str:
    return "" if scan.place is None else page_token(_about(namespace), f"{scan.place.tenant}\n{scan.place.key}")


def _about(namespace: Namespace) -> tuple[str, ...]:
    return ("keeping", namespace.name)
