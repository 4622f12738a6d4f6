"""The watches of a process: how many there are, whose they are, and whether these may still have them."""

import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from stylobate.clients.bans import BanList
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.errors import InvalidInputError, TokenExpiredError, TokenRevokedError, UnavailableError, Violation
from stylobate.health import Health
from stylobate.identity import Principal, limit_key
from stylobate.outbox import EventLog

from stylobate_state.errors import (
    StateEphemeralError,
    StateKeyInvalidError,
    StateNamespaceUnknownError,
    StateTooManyWatchesError,
    StateWatchesFullError,
)
from stylobate_state.filters import Filter
from stylobate_state.model import StateKey, StateRecord
from stylobate_state.namespace import Namespace, check_key
from stylobate_state.query_planner import QueryPlanner
from stylobate_state.settings import StateSettings
from stylobate_state.state_reader import StateReader
from stylobate_state.store.port import StateStore
from stylobate_state.upgrades import NO_UPGRADES, Upgrades
from stylobate_state.watch.feed import Feed
from stylobate_state.watch.pages import Pages
from stylobate_state.watch.told import Sight, Told
from stylobate_state.watch.view import View
from stylobate_state.watch.watcher import Watcher

_ANEW = timedelta(seconds=1)
"""Whoever watches with an API key comes again, and the key is looked up."""


@dataclass(frozen=True, slots=True)
class WatchEnvironment:
    """What watches work with."""

    log: EventLog
    feed: Feed
    store: StateStore
    access: AccessEvaluator
    bans: BanList
    is_revoked: Callable[[Principal], bool]
    now: Callable[[], float] = time.time
    """Unix seconds, by which tokens expire."""
    upgrades: Upgrades = NO_UPGRADES
    apart: Mapping[str, tuple[EventLog, Feed]] = field(default_factory=dict)
    """By namespace, where its events are in another log."""


class WatchManager:
    """Opens watches. Access is decided before anything else is said, and again with all that is told."""

    def __init__(
        self, namespaces: Mapping[str, Namespace], environment: WatchEnvironment, reader: StateReader, settings: StateSettings
    ) -> None:
        self._namespaces = namespaces
        self._environment = environment
        self._reader = reader
        self._settings = settings
        self._planner = QueryPlanner(environment.store, environment.access)
        self._open: Counter[str] = Counter()
        self._watchers: set[Watcher] = set()
        environment.bans.on_added.append(self.doubt)

    @classmethod
    @asynccontextmanager
    async def open(
        cls, namespaces: Mapping[str, Namespace], environment: WatchEnvironment, settings: StateSettings
    ) -> AsyncIterator["WatchManager"]:
        """Make it usable."""
        async with StateReader.open(environment.store, namespaces) as reader:
            yield cls(namespaces, environment, reader, settings)

    def doubt(self) -> None:
        """Have it looked at now whether callers may still watch, and what."""
        for watcher in tuple(self._watchers):
            watcher.wake()

    async def health(self) -> Health:
        """Say how many watches are open."""
        return Health(metrics={"watches": float(len(self._watchers)), "callers": float(len(self._open))})

    async def watch(
        self,
        principal: Principal,
        address: str,
        namespace: str,
        key: str,
        *,
        status: str = "",
        filters: Sequence[Filter] = (),
        position: str = "",
    ) -> AsyncGenerator[Told]:
        """Tell how things stand, then what happens; ends with the error that ends the watch.

        :param address: where the caller is. :param key: empty: the whole namespace. :param status: empty: all.
        :param filters: what the fields of the objects must be; not together with a key or a status.
        :param position: as told last by a watch of the same; empty: from now on, with a snapshot.
        :raises StateNamespaceUnknownError, StateKeyInvalidError, InvalidInputError, PositionInvalidError: what is asked for.
        :raises StateNamespaceForeignError: a handler asks, whose module does not depend on the namespace's.
        :raises StateQueryNotIndexedError, StateIndexNotReadyError: no index answers the filters, or not yet.
        :raises StateEphemeralError: nothing is told of changes there.
        :raises UnauthenticatedError, PermissionDeniedError, TokenRevokedError, TokenExpiredError, BannedError: who asks.
        :raises StateWatchesFullError, StateTooManyWatchesError: there are too many.
        :raises UnavailableError: something does not answer; whoever comes back with the last position misses nothing.
        """
        view = self._view(principal, namespace, key, status, filters)
        whose = principal.subject or limit_key(address)
        sight = await view.sight(self._environment.access)
        if not self._environment.store.part(namespace).has_events:
            raise StateEphemeralError(namespace, "watches")
        if filters and (key or status):
            place, said = ("/filter", "is for all of a namespace") if key else ("/status", "with filters, say filter[status][eq]")
            raise InvalidInputError(violations=[Violation(place, said)])
        if key:
            await self._check_key(view, sight)
        if len(self._watchers) >= self._settings.watches:
            raise StateWatchesFullError
        if self._open[whose] >= self._settings.watches_per_caller:
            raise StateTooManyWatchesError
        watcher = self._watcher(view, address)
        self._watchers.add(watcher)
        self._open[whose] += 1
        try:
            async with aclosing(watcher.run(position)) as telling:
                async for told in telling:
                    yield told
        finally:
            self._watchers.discard(watcher)
            self._open[whose] -= 1
            if not self._open[whose]:
                del self._open[whose]

    def _view(self, principal: Principal, namespace: str, key: str, status: str, filters: Sequence[Filter]) -> View:
        bound = self._namespaces.get(namespace)
        if bound is None:
            raise StateNamespaceUnknownError(namespace)
        bound.check_user(principal)
        if key:
            check_key(key)
        bound.check_status(status)
        rules = (bound.access.read,) if key else (bound.access.list, bound.access.read)
        return View(principal, namespace, key, status, bound.fields, rules, bound.shows_people, filters)

    async def _check_key(self, view: View, sight: Sight) -> None:
        """Raise StateKeyInvalidError for a key at which there is nothing to see, and never will be."""
        try:
            self._namespaces[view.namespace].check_new_key(view.key)
        except StateKeyInvalidError:
            found = await self._reader.one(StateKey(view.principal.tenant, view.namespace, view.key))
            if found is None or found.is_deleted or not (sight.is_all or found.owner == view.principal.subject):
                raise

    async def _shown(self, namespace: Namespace, states: Sequence[StateRecord]) -> list[StateRecord]:
        return await self._environment.upgrades.shown([(namespace, state) for state in states])

    def _watcher(self, view: View, address: str) -> Watcher:
        environment, principal = self._environment, view.principal
        namespace = self._namespaces[view.namespace]

        def check() -> float | None:
            if environment.is_revoked(principal):
                raise TokenRevokedError
            environment.bans.refuse(address, principal)
            if not principal.expires_at:
                return None
            left = principal.expires_at - environment.now()
            if left <= 0 and principal.sends_key:
                raise UnavailableError("The API key is to be proven anew; go on from where this ended.", retry_after=_ANEW)
            if left <= 0:
                raise TokenExpiredError
            return left

        log, feed = environment.apart.get(view.namespace, (environment.log, environment.feed))
        return Watcher(
            view,
            log=log,
            feed=feed,
            store=environment.store,
            reader=self._reader,
            pages=Pages(view, namespace, store=environment.store, reader=self._reader, planner=self._planner),
            access=environment.access,
            shown=partial(self._shown, namespace),
            opened=partial(environment.upgrades.sealing.entry, namespace),
            check=check,
            quiet=self._settings.watch_quiet,
        )
