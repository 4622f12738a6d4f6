"""The adapters of one database, by its kind: the only place that knows which kinds there are."""

from dataclasses import dataclass
from typing import Any

from stylobate.app.storage import PostgresStorage, Storage
from stylobate.encryption.port import DataKeyStore
from stylobate.idempotency import IdempotencyLedger
from stylobate.leases.port import LeaseStore
from stylobate.outbox import EventLog
from stylobate.outbox.port import Numbering

from stylobate_state.places import SOURCE
from stylobate_state.store.forgetting import ForgettingStore
from stylobate_state.store.moving import LoadStore
from stylobate_state.store.owner_keys import OwnerKeyStore
from stylobate_state.store.places import PlaceStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.postgres import PostgresStateStore
from stylobate_state.store.postgres_forgetting import PostgresForgettingStore
from stylobate_state.store.postgres_loads import PostgresLoadStore
from stylobate_state.store.postgres_owner_keys import PostgresOwnerKeyStore
from stylobate_state.store.postgres_places import PostgresPlaceStore
from stylobate_state.store.postgres_projections import PostgresProjectionStore
from stylobate_state.store.postgres_resealing import PostgresResealStore
from stylobate_state.store.postgres_timers import PostgresTimerStore
from stylobate_state.store.projections import ProjectionStore
from stylobate_state.store.resealing import ResealStore
from stylobate_state.store.timers import TimerStore


@dataclass(frozen=True)
class Adapters:
    """Whatever the service keeps in one database."""

    storage: Storage
    ledger: IdempotencyLedger[Any]
    log: EventLog
    numbering: Numbering
    leases: LeaseStore
    data_keys: DataKeyStore
    store: StateStore
    places: PlaceStore
    loads: LoadStore
    projections: ProjectionStore
    timers: TimerStore
    forgetting: ForgettingStore
    texts: ResealStore
    owner_keys: OwnerKeyStore


def adapters_of(storage: Storage) -> Adapters:
    """Return the adapters on a database."""
    own = _on_postgres(storage) if isinstance(storage, PostgresStorage) else _on_mongodb(storage)
    return Adapters(
        storage=storage,
        log=storage.event_log(SOURCE),
        numbering=storage.numbering(SOURCE),
        leases=storage.leases(),
        data_keys=storage.data_keys(),
        **own,
    )


def _on_postgres(storage: PostgresStorage) -> dict[str, Any]:
    database, ledger = storage.database, storage.idempotency()
    store = PostgresStateStore(database, ledger)
    return {
        "ledger": ledger,
        "store": store,
        "places": PostgresPlaceStore(database),
        "loads": PostgresLoadStore(database),
        "projections": PostgresProjectionStore(database, store),
        "timers": PostgresTimerStore(database),
        "forgetting": PostgresForgettingStore(database),
        "texts": PostgresResealStore(database),
        "owner_keys": PostgresOwnerKeyStore(database),
    }


def _on_mongodb(storage: Any) -> dict[str, Any]:
    from stylobate_state.store import mongodb  # noqa: PLC0415  the driver: 11 MB, for whoever has such a database

    database, ledger = storage.database, storage.idempotency()
    store = mongodb.MongoStateStore(database, ledger)
    return {
        "ledger": ledger,
        "store": store,
        "places": mongodb.MongoPlaceStore(database),
        "loads": mongodb.MongoLoadStore(database),
        "projections": mongodb.MongoProjectionStore(database, store),
        "timers": mongodb.MongoTimerStore(database),
        "forgetting": mongodb.MongoForgettingStore(database),
        "texts": mongodb.MongoResealStore(database),
        "owner_keys": mongodb.MongoOwnerKeyStore(database),
    }
