"""What services are built into for tests of modules: the platform's own pipeline and channels, over memory adapters."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

import grpc.aio

from stylobate.api.auth.v1.user_directory_service_pb2_grpc import add_UserDirectoryServiceServicer_to_server
from stylobate.app.memory_hooks import MemoryHooks
from stylobate.app.memory_users import MemoryUsers
from stylobate.app.module_schema import ModuleSchema
from stylobate.app.storage import MongoStorage, PostgresStorage, Storage
from stylobate.clients.bans import BanList
from stylobate.clients.limit_rules import LimitRules
from stylobate.database import DatabaseManager
from stylobate.database.address import is_mongodb
from stylobate.database.schema import migrator_of
from stylobate.declarations.model import Declarations, Finding
from stylobate.declarations.section import did_you_mean
from stylobate.errors import TokenInvalidError
from stylobate.identity.principal import EVERYTHING, Principal, PrincipalKind, grants
from stylobate.identity.resources import Granted, resource_fault
from stylobate.outbox.event import LoggedEvent
from stylobate.outbox.memory import MemoryEventLog
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers, standard_interceptors
from stylobate.rpc.call import Call, current_call
from stylobate.services import installed_services
from stylobate.strict_json import loads
from stylobate.value_kinds import OnUnreachable

T = TypeVar("T")
_SERVICE = "service:"
_USER, _ADMIN = "user", "admin"
"""The roles that there are without a module: what everybody is, and who may do everything."""


class NamedTokens:
    """Tokens that are names: good enough inside a test, where nobody forges any."""

    def __init__(self) -> None:
        self._known: dict[str, Principal] = {}

    def cached(self, token: str) -> Principal | None:
        """Return the user of that name, each time the same."""
        known = self._known.get(token)
        if known is None:
            known = self._known[token] = Principal(PrincipalKind.USER, token)
        return known

    async def verify(self, token: str) -> Principal:
        """Refuse; every token is known already."""
        raise TokenInvalidError(f"{token} is nobody.")


class ServiceTokens:
    """Verifies the tokens that :class:`ServiceName` makes."""

    def verify(self, token: str, audiences: Any = ()) -> str:
        """Return the service's name."""
        del audiences
        return token.removeprefix(_SERVICE)


class ServiceName:
    """A service's identity that is only its name."""

    def __init__(self, name: str) -> None:
        self._token = f"{_SERVICE}{name}"

    def token(self) -> str:
        """Return the name as a token."""
        return self._token


class UserChannel(CallerChannel):
    """The channel of a user outside: with the token, and nothing of the call being served."""

    def __init__(self, inner: grpc.aio.Channel, user: str) -> None:
        super().__init__(inner, None)
        self._call = Call(authorization=f"Bearer {user}") if user else Call()

    def begin(self, timeout: float | None, metadata: Any, *, is_stream: bool) -> tuple[float | None, Any]:
        """Add the user's token."""
        served = current_call.set(self._call)
        try:
            return super().begin(timeout, metadata, is_stream=is_stream)
        finally:
            current_call.reset(served)


class RolePermissions:
    """Permissions by the roles that the modules declare; stands for :class:`stylobate.identity.Access`."""

    def __init__(self, declarations: Declarations) -> None:
        self._permissions = {**declarations.roles, _ADMIN: frozenset({EVERYTHING})}
        self.roles: dict[str, tuple[str, ...]] = {}
        """The roles of each user."""
        self.grants: dict[str, dict[str, set[str]]] = {}
        """The resources that each user is granted, by permission."""

    def give(self, user: str, roles: Sequence[str]) -> None:
        """Give a user these roles, and `user`, which everybody holds. Raises ValueError for a role that no module declares."""
        known = {*self._permissions, _USER}
        for role in roles:
            if role not in known:
                raise ValueError(f"no module declares the role `{role}`{did_you_mean(role, known)}")
        self.roles[user] = (_USER, *roles)

    def grant(self, user: str, permission: str, resource: str) -> None:
        """Grant a user a permission on a resource. Raises ValueError for what is none."""
        if fault := resource_fault(resource):
            raise ValueError(f"{resource!r} {fault}")
        self.grants.setdefault(user, {}).setdefault(permission, set()).add(resource)

    def revoke(self, user: str, permission: str, resource: str) -> None:
        """Take that grant away. Raises KeyError when there is none."""
        self.grants.get(user, {}).get(permission, set()).remove(resource)

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether one of the subject's roles holds the permission, or a grant on the resource is for it.

        A service in its own name may do everything.
        """
        if principal.is_service and not principal.act_for:
            return True
        roles = self.roles.get(principal.subject, ())
        if any(grants(self._permissions.get(role, frozenset()), permission) for role in roles):
            return True
        return bool(resource) and (await self.granted(principal, permission)).covers(resource)

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:
        """Return on what the subject is granted the permission."""
        del under  # all of it
        held = self.grants.get(principal.subject, {})
        return Granted(frozenset(name for one, names in held.items() if grants((one,), permission) for name in names))


class MemoryApp:
    """The place that services are built into: an async context manager; what was entered is closed in reverse.

    :param environ: where settings of modules come from.
    """

    counts_limits = False
    """Whether actions ask the ratelimit service, which must then be built too."""

    limits_unreachable = OnUnreachable.OPEN

    databases: Mapping[str, str] = MappingProxyType({})
    """The URLs of what modules keep data of their own in."""

    def __init__(self, declarations: Declarations, clock: Callable[[], datetime], environ: Mapping[str, str]) -> None:
        self.declarations = declarations
        self.clock = clock
        self.environ = environ
        self.access = RolePermissions(declarations)
        self.bans = BanList()
        self.stopping = asyncio.Event()
        self.limit_rules = LimitRules(declarations)
        self.hooks = MemoryHooks()
        self.log = MemoryEventLog("state", clock)
        """What happened."""
        self.on_events: list[Callable[[Sequence[LoggedEvent]], None]] = []
        """Get the events that were numbered, as from a relay."""
        self._undelivered: deque[LoggedEvent] = deque()
        self.publications: list[tuple[str, Any]] = []
        """What was published, in order: channel and payload."""
        doors = [spec.name for spec in installed_services().values() if spec.http]
        self.fire_due: Callable[[], Awaitable[timedelta | None]] | None = None
        """Fires what the clock has made due, and returns how long it is until the next."""
        self.forget_owner: Callable[[str, str, str], Awaitable[tuple[int, str]]] | None = None
        """Does a step of what namespaces say under ``on_owner_deleted``, for tenant, owner and place; returns where to go on."""
        self._servicers = Servicers(standard_interceptors(NamedTokens(), ServiceTokens(), doors=doors))
        self._server = LocalServer(self._servicers)
        self.users = MemoryUsers(self.access)
        """The accounts that there are."""
        self.servicer(add_UserDirectoryServiceServicer_to_server, self.users)
        self._stack = AsyncExitStack()
        self._building = ""

    async def __aenter__(self) -> Self:
        """Serve calls."""
        await self._server.start()
        self._stack.push_async_callback(self._server.stop, 1.0)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close everything."""
        await self._stack.aclose()

    def committed(self) -> None:
        """Give what was written its numbers: who watches hears of it at once, hooks when the test says so."""
        numbered = self.log.number_now()
        self._undelivered += [replace(one, event=replace(one.event, aside=b"")) for one in numbered]
        for told in self.on_events:
            told(numbered)

    def undelivered(self) -> LoggedEvent | None:
        """Return the next event for the hooks; None: there is none."""
        return self._undelivered.popleft() if self._undelivered else None

    async def build(self, name: str, build: Callable[[Any], Any]) -> None:
        """Build a service into this."""
        self._building = name
        await build(self)

    # what a service's build asks for

    def channel(self, service: str) -> grpc.aio.Channel:
        """Return a channel to a service, in the name of the one being built."""
        del service  # all are behind the same server
        return CallerChannel(LocalChannel(self._server), ServiceName(self._building).token)

    def channel_of(self, user: str) -> grpc.aio.Channel:
        """Return the channel of a user outside; an empty name: nobody known."""
        return UserChannel(LocalChannel(self._server), user)

    async def enter(self, manager: AbstractAsyncContextManager[T], *, name: str = "") -> T:
        """Enter a manager."""
        del name  # of its health check, which nobody asks here
        return await self._stack.enter_async_context(manager)

    async def module_storage(self, schema: ModuleSchema) -> Storage:
        """Open what a module keeps data of its own in, brought up to date. Raises ConfigError, MigrationError."""
        await migrator_of(schema.url, schema.name, schema.migrations).upgrade()
        if is_mongodb(schema.url):
            from stylobate.database.mongodb import MongoManager  # noqa: PLC0415  its driver: 11 MB, for whoever has one

            return MongoStorage(await self.enter(MongoManager.open(schema.url, service=schema.name, bounds_all=True)))
        return PostgresStorage(await self.enter(DatabaseManager.open(schema.url, service=schema.name)))

    def servicer(
        self,
        add: Callable[[Any, grpc.aio.Server], None],
        servicer: object,
        access: Mapping[str, RpcAccess] | None = None,
    ) -> None:
        """Serve a generated service."""
        self._servicers.register(add, servicer, access)

    def leave_out(self, module: str, findings: Sequence[Finding]) -> None:
        """Refuse to test without a module that does not run."""
        raise AssertionError("\n".join([f"the module {module} does not run:", *map(str, findings)]))

    def published(self, channel: str, data: bytes) -> None:
        """Keep a publication."""
        self.publications.append((channel, loads(data)))
