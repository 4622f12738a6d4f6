"""``ActionTester``: a module under test, run by the real actions and state services over memory."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.api.actions.v1.module_service_pb2 import ForgetUserRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.api.auth.v1.user_directory_service_pb2 import UserProfile
from stylobate.app.memory_app import MemoryApp
from stylobate.clients.user_data import UserData
from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.declarations.model import Severity
from stylobate.identity import DEFAULT_TENANT
from stylobate.modules.check import check_modules
from stylobate.modules.payload import JSON, decode, encode
from stylobate.modules.state import StateClient
from stylobate.outbox.event import Event
from stylobate.services import installed_services
from stylobate.testing.clock import FakeClock
from stylobate.testing.fresh import fresh_databases
from stylobate.testing.logs import plain_logs

_MOST_EVENTS = 1000


class TestUser:
    """A caller with roles."""

    __test__ = False  # not a test class

    def __init__(self, app: MemoryApp, name: str) -> None:
        self.id = name
        self._access = app.access
        channel = app.channel_of(name)
        self.state = StateClient(channel)
        """The state service as this user reaches it, not through a handler."""
        self._actions: Any = ActionServiceStub(channel)

    def grant(self, permission: str, resource: str) -> None:
        """Grant the user a permission on a resource, such as ``state/orders/42``. Raises ValueError for what is none."""
        self._access.grant(self.id, permission, resource)

    def revoke(self, permission: str, resource: str) -> None:
        """Take a grant away. Raises KeyError when there is none."""
        self._access.revoke(self.id, permission, resource)

    async def call(self, action: str, input: Any = None, key: str = "") -> Any:  # noqa: A002  what it is called everywhere
        """Run an action and return its output. Raises the StylobateError that a client would see.

        :param key: an idempotency key: sent again with it, the action is not run again.
        """
        request = ExecuteActionRequest(action=action, input=encode(input), content_type=JSON, idempotency_key=key)
        return decode((await self._actions.ExecuteAction(request)).output)


class ActionTester:
    """Runs the actions of modules as the platform does, on its own services over memory.

    Permissions, limits, schemas, timeouts, state machine, access rules, hooks, channels: what the platform refuses is refused
    here, with the same reason. Only what lies outside is left out: tokens are names, and what is published is kept in
    :attr:`published` instead of being sent::

        async with ActionTester.open("modules/shop") as tester:
            order = await tester.user("alice").call("shop.place_order", {"items": [{"sku": "tea", "quantity": 2}]})
            await tester.deliver()
            assert tester.published == [...]
    """

    def __init__(self, app: MemoryApp) -> None:
        self._app = app
        self.published: list[tuple[str, Any]] = app.publications
        """What was published: channel and payload, in order."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *modules: str | Path,
        settings: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] | None = None,
        limits: bool = True,
        databases: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Self]:
        """Load the modules and serve them.

        :param modules: folders, each a module or a folder of modules.
        :param settings: environment variables for modules' settings and secrets: ``{"STYLOBATE_MODULE_SHOP_UNIT_PRICE": "250"}``.
        :param clock: what ``ctx.now`` and objects show, and what limits count by; a FakeClock if none is given.
        :param limits: whether limits of actions are counted; False for a test that does in no time what takes hours.
        :param databases: for modules with a ``database``, by their names: the URL of a server. The module gets a database there
            that is new, and gone at the end.
        :raises AssertionError: with every error that ``stylobate modules check`` finds.
        """
        plain_logs()
        folders = os.pathsep.join(map(str, modules))
        findings = check_modules(folders, Sources(settings or {}, ()))
        if errors := [finding for finding in findings if finding.severity is Severity.ERROR]:
            raise AssertionError("\n".join(map(str, errors)))
        declarations = load_declarations(folders)
        for module in declarations.modules:
            if module.database and module.name not in (databases or {}):
                said = f"databases={{{module.name!r}: '{module.database}://…'}}"
                raise AssertionError(f"{module.name} has a database of its own: ActionTester.open(…, {said})")
        async with (
            fresh_databases(databases or {}) as fresh,
            MemoryApp(declarations, clock or FakeClock(), settings or {}) as app,
        ):
            app.counts_limits = limits
            app.databases = fresh
            for name, build in _in_memory().items():
                await app.build(name, build)
            yield cls(app)

    def user(self, name: str, *roles: str) -> TestUser:
        """Return a user with these roles, beside ``user``, which every registered user holds.

        `ctx.users` knows them by their name, with an address at example.com.

        Raises ValueError for a role that no module declares; ``admin``, who may do everything, is always there.
        """
        self._app.access.give(name, roles)
        self._app.users.known[name] = UserProfile(id=name, told=True, display_name=name, email=f"{name}@example.com")
        return TestUser(self._app, name)

    @property
    def anonymous(self) -> TestUser:
        """Nobody known."""
        return TestUser(self._app, "")

    async def deliver(self) -> list[Event]:
        """Fire timers that are due, deliver what happened to the hooks, and what happens by that, until nothing is left.

        Returns the events.

        Raises what a hook raises; AssertionError when hooks keep setting each other off.
        """
        delivered: list[Event] = []
        await self._fire_due()
        while (logged := self._app.undelivered()) is not None:
            event = logged.event
            await self._app.hooks.deliver(event)
            delivered.append(event)
            if len(delivered) > _MOST_EVENTS:
                raise AssertionError(f"hooks set each other off without end: {event.type} of {event.subject}")
        return delivered

    async def advance(self, by: timedelta) -> list[Event]:
        """Let time go by, from one timer that comes due to the next, and deliver what happens; return the events.

        Takes the tester's own clock, or a FakeClock that was given. Raises what :meth:`deliver` raises.
        """
        clock = self._app.clock
        if not isinstance(clock, FakeClock):
            raise TypeError("only a FakeClock can be moved")
        end, delivered = clock() + by, await self.deliver()
        while (pause := await self._fire_due()) is not None and clock() + pause <= end:
            clock.advance(pause)
            delivered += await self.deliver()
        clock.set(end)
        return delivered

    async def export_user(self, name: str) -> dict[str, list[Any]]:
        """Return what an export of a user's account holds of state and of modules: records under `state/orders`, `modules/shop`.

        Raises AssertionError where a module does not give out everything, with the reason that the export would name.
        """
        data, found = UserData(self._app.channel("state"), self._app.channel("actions")), dict[str, list[Any]]()
        for namespace in sorted(self._app.declarations.namespaces):
            objects = [decode(encode(one)) async for one in data.objects(DEFAULT_TENANT, name, namespace)]
            found |= {f"state/{namespace}": objects} if objects else {}
        async for one in data.records(DEFAULT_TENANT, name):
            if one.reason:
                raise AssertionError(f"the export of the module {one.module} is not complete: {one.reason}: {one.detail}")
            if one.record:
                found.setdefault(f"modules/{one.module}", []).append(decode(one.record))
        return found

    async def delete_user(self, name: str) -> None:
        """Have a user forgotten as when the account is deleted: by `delete_user` of each module, then as each namespace says.

        Events of that go to the hooks with :meth:`deliver`. Raises what a module's method raises.
        """
        await ModuleServiceStub(self._app.channel("actions")).ForgetUser(ForgetUserRequest(user_id=name))
        self._app.users.known.pop(name, None)
        place, is_begun = "", False
        while self._app.forget_owner is not None and (place or not is_begun):
            _, place = await self._app.forget_owner(DEFAULT_TENANT, name, place)
            is_begun = True

    async def _fire_due(self) -> timedelta | None:
        return await self._app.fire_due() if self._app.fire_due is not None else None


def _in_memory() -> dict[str, Callable[[Any], Awaitable[None]]]:
    """Return what builds each service that can be built over memory, those that need no other first."""
    found = {name: spec.in_memory for name, spec in installed_services().items() if spec.in_memory is not None}
    if not found:
        raise RuntimeError("no service is installed: pip install 'stylobate[platform]'")
    return found
