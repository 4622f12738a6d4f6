"""The state service, put together: the only place that names an adapter."""

from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stylobate.api.state.v1.state_service_pb2_grpc import add_StateServiceServicer_to_server
from stylobate.app.manager import AppManager
from stylobate.declarations import Declarations
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.idempotency import Idempotency
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.ids import new_id
from stylobate.leases import LeaseManager
from stylobate.leases.postgres import PostgresLeaseStore
from stylobate.outbox import Relay
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering

from stylobate_state.hooks import BeforeHooks
from stylobate_state.servicer import StateServicer
from stylobate_state.settings import StateSettings
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.postgres import PostgresStateStore

if TYPE_CHECKING:
    from stylobate.app.memory_app import MemoryApp

SOURCE = "state"


async def build(app: AppManager, settings: StateSettings) -> None:
    """Enter the parts in order. Waits for the database, for no other service."""
    database = await app.database()
    ledger = PostgresIdempotencyLedger(database)
    idempotency = Idempotency(ledger, lambda: datetime.now(UTC))
    log, leases = PostgresEventLog(database, SOURCE), LeaseManager(PostgresLeaseStore(database), app.node)
    relay = Relay(log, PostgresNumbering(database, SOURCE), leases, app.redis, on_numbered=app.event_log(log))
    environment = Environment(
        store=PostgresStateStore(database, ledger),
        access=AccessEvaluator(app.access),
        hooks=BeforeHooks(app.channel("actions"), settings.hook_timeout),
        committed=relay.wake,
        clock=lambda: datetime.now(UTC),
        new_id=new_id,
    )
    manager = await app.enter(_manager(app.declarations, environment, settings), name="state")
    app.servicer(add_StateServiceServicer_to_server, StateServicer(manager, idempotency))
    app.check("relay", relay.health)
    app.task("relay", relay.run)
    app.task("idempotency", idempotency.run)


async def build_in_memory(app: "MemoryApp") -> None:
    """Build the service for tests of modules: the same rules over a store in memory."""
    settings, ledger = StateSettings(), MemoryIdempotencyLedger()
    environment = Environment(
        store=MemoryStateStore(app.clock, app.log, ledger),
        access=AccessEvaluator(app.access),
        hooks=BeforeHooks(app.channel("actions"), settings.hook_timeout),
        committed=lambda: None,
        clock=app.clock,
        new_id=new_id,
    )
    manager = await app.enter(_manager(app.declarations, environment, settings))
    app.servicer(add_StateServiceServicer_to_server, StateServicer(manager, Idempotency(ledger, app.clock)))


def _manager(
    declared: Declarations, environment: Environment, settings: StateSettings
) -> AbstractAsyncContextManager[StateManager]:
    namespaces, channels = declared.namespaces, declared.channels
    return StateManager.open(namespaces, environment, max_data_bytes=settings.max_data_bytes, channels=channels)
