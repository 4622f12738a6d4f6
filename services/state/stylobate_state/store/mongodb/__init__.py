"""The stores of the state service in MongoDB, on the migrations in ``migrations/mongodb``."""

from stylobate_state.store.mongodb.forgetting import MongoForgettingStore
from stylobate_state.store.mongodb.loads import MongoLoadStore
from stylobate_state.store.mongodb.owner_keys import MongoOwnerKeyStore
from stylobate_state.store.mongodb.places import MongoPlaceStore
from stylobate_state.store.mongodb.projections import MongoProjectionStore
from stylobate_state.store.mongodb.resealing import MongoResealStore
from stylobate_state.store.mongodb.states import MongoStateStore
from stylobate_state.store.mongodb.timers import MongoTimerStore

__all__ = [
    "MongoForgettingStore",
    "MongoLoadStore",
    "MongoOwnerKeyStore",
    "MongoPlaceStore",
    "MongoProjectionStore",
    "MongoResealStore",
    "MongoStateStore",
    "MongoTimerStore",
]
