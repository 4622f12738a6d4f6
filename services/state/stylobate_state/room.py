"""One database of the service, with what works on it: its log and relay, its timers, its indexes, what it forgets."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from stylobate.app.manager import AppManager
from stylobate.app.storage import Storage
from stylobate.idempotency import Idempotency
from stylobate.leases import LeaseManager
from stylobate.outbox import Relay

from stylobate_state.adapters import adapters_of
from stylobate_state.carrier import Home
from stylobate_state.history_forgetter import LEASE as FORGETTING
from stylobate_state.history_forgetter import HistoryForgetter
from stylobate_state.index import Index
from stylobate_state.index_keeper import LEASE, IndexKeeper
from stylobate_state.namespace import Namespace
from stylobate_state.places import begin_log, check_own, log_name, settle
from stylobate_state.settings import MAIN, StateSettings
from stylobate_state.state_manager import StateManager
from stylobate_state.timer_runner import TimerRunner
from stylobate_state.watch.feed import Feed


class Room:
    """The parts of one database.

    :param name: of the database, in names of checks and tasks; empty: the service's first one.
    :param apart: the namespaces for which it is there; none for the first one, which keeps whatever is nowhere else.
    """

    def __init__(self, app: AppManager, storage: Storage, name: str = "", apart: Collection[str] = ()) -> None:
        self.apart = apart
        self._adapters = adapters = adapters_of(storage)
        self.places = adapters.places
        self.idempotency = Idempotency(adapters.ledger, lambda: datetime.now(UTC))
        self.log = adapters.log
        self.loads = adapters.loads
        self.feed = Feed(self.log)
        self.store = adapters.store
        self.texts = adapters.texts
        self.data_keys = adapters.data_keys
        self.owner_keys = adapters.owner_keys
        self.projections = adapters.projections
        self.name = name
        self._app = app
        self._leases = LeaseManager(adapters.leases, app.node)
        grown = app.event_log(storage.event_log(log_name(name)) if name else self.log, self.feed.wake)
        self.relay = Relay(
            self.log,
            adapters.numbering,
            self._leases,
            app.redis,
            on_numbered=grown,
            on_events=self.feed.offer,
        )

    @classmethod
    async def open_apart(
        cls,
        app: AppManager,
        others: Sequence["Room"],
        name: str,
        *,
        apart: Collection[str],
        indexes: Collection[Index],
    ) -> "Room":
        """Open a further database. It may be away: what stands in it is refused as unavailable until it is there.

        :param others: that are open, the first one first.
        """
        main = others[0]

        async def look(storage: Storage) -> None:
            there = adapters_of(storage)
            await begin_log(there.log, there.numbering)
            await check_own(name, there.log, {other.name or MAIN: other.log for other in others})
            for namespace in sorted(apart):
                await settle(namespace, name, main.places, there.places, there.loads)
            # before anything is served: a write that came before would not be held to a unique one
            await there.store.declare([index for index in indexes if index.namespace in apart])

        return cls(app, await app.storage_apart(name, "databases", look), name, apart)

    def forgetter(
        self, namespaces: Mapping[str, Namespace], settings: StateSettings, ephemeral: Collection[str]
    ) -> HistoryForgetter:
        """Make what takes data away here."""
        return HistoryForgetter(self._adapters.forgetting, namespaces, settings.history_grace, ephemeral)

    def home(self) -> Home:
        """Return it as moves see it."""
        return Home(self.name or MAIN, self.places, self.store, self.loads, self.projections)

    async def relay_events(self) -> None:
        """Begin to number events, and to tell of them: those of namespaces that stood here, too, are heard to the last."""
        app = self._app
        app.task(self._named("watches"), self.feed.run)
        app.check(self._named("relay"), self.relay.health)
        app.task(self._named("relay"), self.relay.run)

    async def start(
        self, namespaces: Mapping[str, Namespace], indexes: Collection[Index], manager: StateManager, forgetter: HistoryForgetter
    ) -> None:
        """Begin what runs beside the traffic.

        :param namespaces: those that stand here. :param indexes: of these.
        """
        app, leases = self._app, self._leases
        if self.name:  # declared when it was opened
            keeper = IndexKeeper(self.store, tuple(indexes))
            app.check(self._named("indexes"), keeper.health)
        else:
            keeper = await app.enter(IndexKeeper.open(self.store, tuple(indexes)), name="indexes")
        app.task(self._named("indexes"), keeper.declare)
        app.task(self._named("index_builder"), partial(leases.run, LEASE, keeper.build))
        timers = TimerRunner(self._adapters.timers, namespaces, manager)
        app.check(self._named("timers"), partial(timers.health, leases))
        app.task(self._named("timers"), partial(timers.run, leases))
        if forgetter.rules:
            app.task(self._named("history"), partial(leases.run, FORGETTING, forgetter.run))
        app.task(self._named("idempotency"), self.idempotency.run)

    def _named(self, part: str) -> str:
        return f"{part} {self.name}" if self.name else part
