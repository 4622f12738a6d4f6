"""What becomes of an owner's objects, and of its name in the log, once the account is deleted: as each namespace says."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stylobate.declarations.states_file import DELETE, KEEP
from stylobate.json_members import without
from stylobate.paging import no_token, page_position, page_token
from stylobate.rpc.call import NO_CAUSE
from stylobate.stopping import check_cancelled

from stylobate_state.document import NULL
from stylobate_state.errors import StateContendedError
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.model import Change, ListQuery, StateRecord, Write, Written
from stylobate_state.namespace import Namespace
from stylobate_state.state_writer import MAX_TRIES, Environment, StateWriter

_AT_ONCE = 50
"""Objects of one step."""
_ROWS = 2000
"""Events of one step."""
_ITSELF = "service:state"
_STRANGER = "deleted-"
"""Begins the owner of an object that is anonymized. Each gets another one, so that none can be put together with the next."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the work goes on: in a namespace, behind an event of its log."""

    namespace: str
    subject: str = ""
    version: int = 0

    def __str__(self) -> str:
        return f"{self.namespace}\n{self.subject}\n{self.version}"


class OwnerForgetter:
    """Goes through the namespaces that say ``on_owner_deleted``, a step at a time. Nobody's access is asked.

    Who begins anew passes over what was done: objects are found by their owner, which they have no more.

    :param writer: carries out changes, together with what else is written at the time.
    :param forgetters: by namespace, what takes data away where it stands.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        environment: Environment,
        writer: StateWriter,
        forgetters: Mapping[str, HistoryForgetter],
    ) -> None:
        self._namespaces = {name: one for name, one in sorted(namespaces.items()) if one.on_owner_deleted != KEEP}
        self._environment = environment
        self._store = environment.store
        self._writer = writer
        self._forgetters = forgetters

    @property
    def namespaces(self) -> Collection[str]:
        """Those that say it."""
        return self._namespaces.keys()

    async def step(self, tenant: str, owner: str, place: str) -> tuple[int, str]:
        """Do one step: return how many objects it was about, and where the next one goes on; empty: it is done.

        :raises InvalidInputError: the place is that of another owner. :raises StateContendedError: others were faster all along.
        """
        here = self._at(owner, place)
        if here is None:
            return 0, ""
        namespace = self._namespaces[here.namespace]
        await self._environment.sealing.destroy(namespace, tenant, owner)
        if not here.subject and (count := await self._change(namespace, tenant, owner)):
            return count, page_token(_about(owner), str(here))
        behind = await self._forgetters[here.namespace].forget_person(
            tenant,
            here.namespace,
            owner,
            erases=namespace.on_owner_deleted == DELETE,
            after=(here.subject, here.version),
            most=_ROWS,
        )
        if behind is not None:
            return 0, page_token(_about(owner), str(_Place(here.namespace, *behind)))
        await self._environment.sealing.destroy(namespace, tenant, owner)  # what somebody has made meanwhile
        names = list(self._namespaces)
        rest = names[names.index(here.namespace) + 1 :]
        return 0, page_token(_about(owner), str(_Place(rest[0]))) if rest else ""

    async def _change(self, namespace: Namespace, tenant: str, owner: str) -> int:
        """Delete or hand over some of what is the owner's, each for exactly the version that was seen; return how many."""
        for attempt in range(MAX_TRIES):
            check_cancelled()
            await self._writer.pause_before(attempt)
            found = (await self._store.list_states(ListQuery(tenant, namespace.name, _AT_ONCE, owner=owner))).items
            if not found:
                return 0
            writes = [self._write(namespace, state) for state in found]
            outcomes = await asyncio.gather(*(self._writer.submit((write,)) for write in writes))
            if done := sum(isinstance(outcome, Written) for (outcome,) in outcomes):
                return done
        raise StateContendedError(namespace.name, _first(found))

    def _write(self, namespace: Namespace, state: StateRecord) -> Write:
        deletes = namespace.on_owner_deleted == DELETE
        kept = without(state.data, namespace.encrypted) if namespace.per_owner else state.data
        return Write(
            key=state.key,
            change=Change.DELETED if deletes else Change.ASSIGNED,
            expected=state.version,
            owner=state.owner if deletes else f"{_STRANGER}{self._environment.new_id()}",
            status=None,
            data=NULL if deletes else kept,
            actor=_ITSELF,
            event_id=self._environment.new_id(),
            schema_version=state.schema_version,
            beside=namespace.beside(NO_CAUSE),
        )

    def _at(self, owner: str, place: str) -> _Place | None:
        position = page_position(_about(owner), place)
        if not position:
            return _Place(next(iter(self._namespaces))) if self._namespaces else None
        name, _, behind = position.partition("\n")
        subject, _, version = behind.rpartition("\n")
        if name not in self._namespaces or not version.isdecimal():
            raise no_token()
        return _Place(name, subject, int(version))


def _first(found: Sequence[StateRecord]) -> str:
    return found[0].key.key


def _about(owner: str) -> tuple[str, ...]:
    return ("owner", owner)
