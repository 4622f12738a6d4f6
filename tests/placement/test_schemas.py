"""The schema of each service, as its spec declares it: what it keeps can be kept there and read again."""

from datetime import UTC, datetime

import pytest
from stylobate.audit import AuditRecord
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.outbox import Event, Position
from stylobate.outbox.postgres import PostgresEventLog, PostgresNumbering, PostgresOutbox
from stylobate.services import installed_services
from stylobate.testing.fixtures import DatabaseFor

SPECS = installed_services()


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.has_event_log])
async def test_a_service_with_a_log_can_publish(name: str, database_for: DatabaseFor):
    """An event written with a transaction of the service stands in its log once it is numbered."""
    database = await database_for(name, *SPECS[name].migrations)
    event = Event.new(f"{name}.thing.happened", "1", {"of": "test"})
    async with database.transaction() as transaction:
        await PostgresOutbox(name).append(transaction, [event], stream="thing")
    numbering = PostgresNumbering(database, name)
    assert await numbering.claim(1)
    await numbering.number(1)
    (read,) = (await PostgresEventLog(database, name).read(Position.origin())).events
    assert (read.event.id, read.event.source) == (event.id, name)


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if any(part.name == "audit" for part in spec.migrations)])
async def test_a_service_with_an_audit_trail_can_record(name: str, database_for: DatabaseFor):
    """A record is kept in the schema of the service."""
    database = await database_for(name, *SPECS[name].migrations)
    await PostgresAuditStore(database).insert([AuditRecord(action=f"{name}.thing", target="1", time=datetime.now(UTC))])
    assert await database.fetchval("select action from audit_record") == f"{name}.thing"


def test_every_service_but_the_gateway_keeps_a_log_or_runs_modules():
    """What changes in a service is an event and stands in its audit; the actions service has the events of the others' logs."""
    assert {name for name, spec in SPECS.items() if spec.has_event_log} == set(SPECS) - {"gateway", "actions"}
    assert {name for name, spec in SPECS.items() if spec.events} == {"auth", "ratelimit", "state"}
