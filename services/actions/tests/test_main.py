"""The service as it is built for a running platform: PostgreSQL for the audit trail and the positions of hooks."""

from collections.abc import Callable
from typing import Any

import pytest
from stylobate.app.memory_app import MemoryApp
from stylobate.app.storage import PostgresStorage
from stylobate.audit import AuditTrail
from stylobate.config import Environment, Sources
from stylobate.declarations import load_declarations
from stylobate.errors import StylobateError
from stylobate.redis import RedisManager
from stylobate.testing.fixtures import DatabaseFor
from stylobate.testing.modules import TestUser
from stylobate_actions.main import build
from stylobate_actions.settings import ActionsSettings
from stylobate_actions.spec import SPEC

from .conftest import WriteModule

CODE = """
    from stylobate.modules import BaseModule, on

    class M(BaseModule):
        async def greet(self, ctx, name: str) -> str:
            return f"Hello {name}"

        async def fail(self, ctx) -> None:
            raise ValueError("the password is swordfish")

        @on("state.*.created")
        async def hear(self, ctx, event): ...

        @on("auth.user.registered", delivery="each")
        async def welcome(self, ctx, event): ...
"""


class DatabaseApp(MemoryApp):
    """An app with a real database and Redis."""

    name = node = "actions"

    def __init__(self, database_for: DatabaseFor, redis: RedisManager, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._database_for = database_for
        self.redis = redis
        self.sources = Sources({}, ())
        self.checks: dict[str, Any] = {}
        self.tasks: dict[str, Any] = {}

    async def storage(self) -> PostgresStorage:
        """Open a fresh, migrated database."""
        return PostgresStorage(await self._database_for(SPEC.name, *SPEC.migrations))

    def check(self, name: str, check: Callable[[], Any]) -> None:
        """Keep a health check."""
        self.checks[name] = check

    def follow(self, *_fields: str, take: Callable[[Any], Any]) -> None:
        """Nothing is exchanged."""

    async def audit_trail(self, store: Any, chain: Any, leases: Any) -> Any:
        """Open the trail of audit records."""
        return await self.enter(AuditTrail.open(store, self.name))

    def ready_when(self, wait: Callable[[], Any]) -> None:
        """Take what readiness waits for; this test has no probe to hold back."""

    def task(self, name: str, factory: Callable[[], Any]) -> None:
        """Keep background work; this test has no log of events to read."""
        self.tasks[name] = factory


@pytest.mark.parametrize("environment", list(Environment))
async def test_what_was_raised_is_told_in_development_alone(
    write_module: WriteModule, database_for: DatabaseFor, redis: RedisManager, environment: Environment
) -> None:
    """The answer to a defect names the exception there; elsewhere neither its class nor its text leaves the process."""
    modules = write_module("greeter", CODE, actions="actions:\n  greeter.fail: { handler: fail, access: public }\n")
    async with DatabaseApp(database_for, redis, load_declarations(str(modules)), None, {}) as app:
        settings = ActionsSettings(modules=str(modules), environment=environment)
        await app.build(SPEC.name, lambda app: build(app, settings))
        with pytest.raises(StylobateError) as failed:
            await TestUser(app, "alice").call("greeter.fail")
    assert failed.value.reason == "ACTION_FAILED"
    told = {"exception": "ValueError: the password is swordfish"} if environment is Environment.DEVELOPMENT else {}
    assert failed.value.metadata == {"action": "greeter.fail"} | told


async def test_calls_are_in_the_audit_trail_when_the_service_has_closed(
    write_module: WriteModule, database_for: DatabaseFor, redis: RedisManager
) -> None:
    """Built from its SPEC over PostgreSQL it serves, and each call has left its record: who, what, how it ended."""
    modules = write_module("greeter", CODE, actions="actions:\n  greeter.greet: { handler: greet, access: authenticated }\n")
    async with DatabaseApp(database_for, redis, load_declarations(str(modules)), None, {}) as app:
        await app.build(SPEC.name, lambda app: build(app, ActionsSettings(modules=str(modules))))
        alice = TestUser(app, "alice")
        assert await alice.call("greeter.greet", "you") == "Hello you"
        with pytest.raises(StylobateError):
            await alice.call("greeter.greet", 7)
    database = await database_for(SPEC.name, *SPEC.migrations)
    rows = await database.fetch("select actor, action, outcome, reason from audit_record order by time")
    assert [tuple(row) for row in rows] == [
        ("alice", "greeter.greet", "success", ""),
        ("alice", "greeter.greet", "failure", "ACTION_INPUT_INVALID"),
    ]
    assert set(app.tasks) == {"hooks", "projections", "runs", "runs_pruned"}
