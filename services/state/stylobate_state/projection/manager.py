"""What services and operators can ask of projections."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from stylobate.errors import InvalidInputError, Violation
from stylobate.rpc.call import MAX_HOOK_DEPTH, Cause

from stylobate_state.document import NULL
from stylobate_state.model import Change, StateKey, Write
from stylobate_state.namespace import Namespace
from stylobate_state.projection.errors import ProjectionNotFoundError
from stylobate_state.projection.model import Applied, Outcome, Projection, View
from stylobate_state.sealing import NO_SEALING, Sealing
from stylobate_state.store.projections import ProjectionStore

MOST_CHANGES = 50
MOST_KEYS = 500
ACTOR = "service:actions"
"""Of the changes: the method runs there, for nobody."""
_SWEPT_AT_ONCE = 50


@dataclass(frozen=True, slots=True)
class ViewChange:
    """An object as it is to be."""

    key: str
    expected: int
    """The version that was read; 0: nothing stood there."""
    data: bytes | None
    """None: it is to be no more."""
    owner: str
    """That of before, where it stands already."""


class ProjectionManager:
    """Reads and writes the objects of the declared projections."""

    def __init__(
        self,
        store: ProjectionStore,
        namespaces: Mapping[str, Namespace],
        declared: Collection[str],
        *,
        committed: Callable[[str], None],
        new_id: Callable[[], str],
        apart: Mapping[str, ProjectionStore] = MappingProxyType({}),
        sealing: Sealing = NO_SEALING,
    ) -> None:
        """Keep the parts.

        :param store: of those that are not among the ones apart, which are by name.
        """
        self._store = store
        self._apart = apart
        self._namespaces = {name: namespaces[name] for name in declared if name in namespaces}
        self._committed = committed
        self._new_id = new_id
        self._sealing = sealing

    async def open(self, name: str) -> Projection:
        """Return where it stands. Raises ProjectionNotFoundError for one that nobody declares."""
        self._namespace(name)
        return await self._of(name).open(name)

    async def standings(self) -> Sequence[Projection]:
        """Return all that were ever opened, by name."""
        found = [one for store in {self._store, *self._apart.values()} for one in await store.standings()]
        return sorted(found, key=lambda one: one.name)

    async def read(self, name: str, generation: int, tenant: str, keys: Sequence[str]) -> list[View]:
        """Return what stands at each key. Raises ProjectionRebuiltError, InvalidInputError, StateKeyInvalidError."""
        namespace = self._namespace(name)
        if len(keys) > MOST_KEYS:
            raise InvalidInputError(violations=[Violation("/keys", f"has more than {MOST_KEYS} entries")])
        for key in keys:
            namespace.check_new_key(key)
        found = await self._of(name).read(name, generation, tenant, keys)
        views = [found.get(key) or View(key, 0, None, "") for key in keys]
        return [await self._opened(namespace, tenant, view) for view in views] if namespace.encrypted else views

    async def progress(self, name: str, generation: int, tenant: str) -> Mapping[int, int]:
        """Return the last number of the tenant that is applied, by partition. Raises ProjectionRebuiltError."""
        self._namespace(name)
        return await self._of(name).progress(name, generation, tenant)

    async def apply(self, events: Applied, changes: Sequence[ViewChange], depth: int) -> Outcome:
        """Write what the events came to, once.

        :param depth: the greatest of the events. :raises StateDataInvalidError: data that the namespace's schema refuses.
        :raises StateKeyInvalidError: a key that no object can have. :raises ProjectionRebuiltError: it was begun anew.
        """
        namespace = self._namespace(events.projection)
        if not events.ranges:
            raise InvalidInputError(violations=[Violation("/events", "must not be empty")])
        if len(changes) > MOST_CHANGES:
            raise InvalidInputError(violations=[Violation("/changes", f"has more than {MOST_CHANGES} entries")])
        for change in changes:
            namespace.check_new_key(change.key)
            if change.data is not None:
                namespace.check(change.data)
        grouped = 1 if len(changes) > 1 else 0
        sealed = [await self._sealed(namespace, events.tenant, change) for change in changes] if namespace.encrypted else changes
        writes = [self._write(namespace, events.tenant, change, depth, grouped) for change in sealed]
        outcome = await self._of(namespace.name).apply(events, writes)
        if outcome.is_applied:
            self._committed(namespace.name)
        return outcome

    async def move(self, name: str, generation: int, position: str | None, error: str) -> None:
        """Note how far it has come, and why it does not go on. Raises ProjectionRebuiltError."""
        await self._of(name).move(name, generation, position, error)

    async def rebuild(self, name: str) -> Projection:
        """Begin it anew; one that never ran begins. Raises ProjectionNotFoundError for one that nobody declares."""
        self._namespace(name)
        return await self._of(name).rebuild(name) or await self._of(name).open(name)

    async def sweep(self, name: str, generation: int) -> bool:
        """Delete some of what was not made again; True: nothing is left. Raises ProjectionRebuiltError."""
        self._namespace(name)
        swept = await self._of(name).sweep(name, generation, _SWEPT_AT_ONCE, self._deletion)
        if swept:
            self._committed(name)
        return not swept

    async def _opened(self, namespace: Namespace, tenant: str, view: View) -> View:
        if view.data is None:
            return view
        key = StateKey(tenant, namespace.name, view.key)
        return replace(view, data=await self._sealing.data(namespace, key, view.data))

    async def _sealed(self, namespace: Namespace, tenant: str, change: ViewChange) -> ViewChange:
        if change.data is None:
            return change
        key = StateKey(tenant, namespace.name, change.key)
        return replace(change, data=await self._sealing.sealed(namespace, key, change.data, owner=change.owner))

    def _of(self, name: str) -> ProjectionStore:
        return self._apart.get(name, self._store)

    def _namespace(self, name: str) -> Namespace:
        try:
            return self._namespaces[name]
        except KeyError:
            raise ProjectionNotFoundError(name) from None

    def _write(self, namespace: Namespace, tenant: str, change: ViewChange, depth: int, group: int) -> Write:
        key = StateKey(tenant, namespace.name, change.key)
        kind = Change.UPDATED if change.expected else Change.CREATED
        if change.data is None:
            kind = Change.DELETED
        return Write(
            key=key,
            change=kind,
            expected=change.expected,
            owner=change.owner,
            status="" if kind is Change.CREATED else None,
            data=NULL if change.data is None else change.data,
            actor=ACTOR,
            event_id=self._new_id(),
            depth=min(depth + 1, MAX_HOOK_DEPTH),
            group=group,
            schema_version=namespace.schema_version,
            beside=namespace.beside(Cause(depth)),
        )

    def _deletion(self, key: StateKey, *, owner: str, version: int) -> Write:
        gone = ViewChange(key.key, version, None, owner)
        return self._write(self._namespace(key.namespace), key.tenant, gone, 0, 0)
