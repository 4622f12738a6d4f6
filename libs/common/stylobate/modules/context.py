"""Contexts: everything that a handler or a hook may use, and in whose name."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NoReturn

import structlog
from pydantic import SecretStr

from stylobate.clients.realtime import Send
from stylobate.identity.principal import Principal
from stylobate.ids import new_id
from stylobate.keys import in_channel
from stylobate.modules.base import BaseModule
from stylobate.modules.database import ModuleDatabase
from stylobate.modules.errors import RefusedError
from stylobate.modules.payload import decode, encode
from stylobate.modules.state import StateClient, asked
from stylobate.modules.steps import Steps
from stylobate.modules.users import UsersClient
from stylobate.rpc.call import Call


@dataclass(frozen=True, slots=True)
class Platform:
    """What stands behind the contexts of a process; handed in by whoever runs handlers."""

    state: StateClient
    users: UsersClient
    publish: Callable[[str, bytes, Send | None], Awaitable[None]]
    """Sends JSON to a realtime channel, in a step of a run as that sends it."""
    call: Callable[[str, bytes, Call, int, str], Awaitable[bytes]]
    """Runs another action for a caller and returns the output as JSON; the number counts the actions that called each other, the
    last text is the idempotency key of a step, or empty."""
    may: Callable[[Principal, str, str], Awaitable[bool]]
    """Whether a principal's subject holds a permission, everywhere or by a grant on a resource."""
    granted: Callable[[Principal, str, str], Awaitable[Sequence[str]]]
    """The resources in a prefix on which a permission is granted to it."""
    databases: Mapping[str, ModuleDatabase]
    """Of the modules that have one, by their names."""
    now: Callable[[], datetime]
    loop_time: Callable[[], float]
    """The clock of deadlines."""


class _Context:
    """What actions and hooks have in common. Made per call; costs nothing for what is not asked for."""

    __slots__ = ("_call", "_depth", "_module", "_name", "_platform", "_steps")

    def __init__(
        self, platform: Platform, module: BaseModule, name: str, call: Call, *, depth: int = 0, steps: Steps | None = None
    ) -> None:
        self._platform = platform
        self._module = module
        self._name = name
        self._call = call
        self._depth = depth
        self._steps = steps

    @property
    def principal(self) -> Principal:
        """In whose name this runs; its ``subject`` is whose rights and ownership count."""
        return self._call.principal

    @property
    def state(self) -> StateClient:
        """The state service, asked in the principal's name."""
        return self._platform.state if self._steps is None else self._platform.state.in_run(self._steps)

    @property
    def users(self) -> UsersClient:
        """Who somebody is, as far as the principal may know."""
        return self._platform.users

    @property
    def database(self) -> ModuleDatabase:
        """The module's own database, of the kind that its ``module.yaml`` declares."""
        return self._platform.databases.get(self._module.name) or ModuleDatabase(self._module.name)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The module's settings."""
        return self._module.settings

    def secret(self, name: str) -> SecretStr:
        """Return a declared secret, as it is at this moment; its text is ``.get_secret_value()``.

        It is shown nowhere: logs, exceptions and answers have ``**********``.

        :raises KeyError: the module declares no such secret: its defect.
        """
        return self._module.secrets[name]

    @property
    def log(self) -> structlog.stdlib.BoundLogger:
        """A logger that names the module, what runs and the request."""
        return self._module.log.bind(running=self._name, request_id=self._call.request_id)

    @property
    def now(self) -> datetime:
        """The time, in UTC. Take it from here: tests move it.

        Where the call has an idempotency key it stands still: it is the time at which the call was run for the first time.
        """
        return self._platform.now() if self._steps is None else self._steps.began_at

    @property
    def deadline(self) -> datetime:
        """When this must be done, in UTC: the nearer of its own timeout and what its caller allows."""
        left = self._call.deadline - self._platform.loop_time()
        return self._platform.now() + timedelta(seconds=left)

    def new_id(self) -> str:
        """Return a new id, a UUIDv7. Take ids from here: where the call has an idempotency key, a second run gets the same."""
        return new_id() if self._steps is None else self._steps.new_id()

    async def publish(self, channel: str, data: Any) -> None:
        """Publish to the subscribers of a realtime channel, such as ``orders:42``.

        Where the call has an idempotency key, a second run sends nothing that the first one sent.

        What a key has beyond printable ASCII is percent-encoded in the channel's name (:mod:`stylobate.keys`).

        :param data: whatever has a JSON form; ``bytes`` are taken to be JSON already, such as ``event.data``.
        :raises StylobateError: REALTIME_CHANNEL_UNKNOWN (the module's defect), REALTIME_CHANNEL_INVALID, REALTIME_UNAVAILABLE.
        """
        payload = data if isinstance(data, bytes) else encode(data)
        send = None if self._steps is None else partial(self._steps.change, kind="publish")
        await asked(self._platform.publish(in_channel(channel), payload, send), channel=channel)

    async def call(self, action: str, input: Any = None) -> Any:  # noqa: A002  what it is called everywhere
        """Run another action in the principal's name, limits and permissions included, and return its output.

        :param action: its full name, ``shop.place_order``.
        :param input: whatever has a JSON form; None for an action that takes none.
        :raises StylobateError: what that action refuses with, unchanged; RATE_LIMITED, PERMISSION_DENIED, ACTION_TIMEOUT,
            ACTION_UNAVAILABLE, ACTION_RECURSION (more than 8 deep). ACTION_NOT_FOUND and ACTION_INPUT_INVALID are the calling
            module's defect where they do not come from its caller's input.
        """
        key = "" if self._steps is None else self._steps.next_key(f"call {action}")
        return decode(await self._platform.call(action, encode(input), self._call, self._depth + 1, key))

    async def may(self, permission: str, resource: str = "") -> bool:
        """Return whether the principal holds a permission, such as ``orders:refund``: asked as access rules ask, at this moment.

        For what a handler shows or does beyond its action's own ``access``. Nobody anonymous holds any.

        :param resource: what it is about, such as ``state/orders/42``: a grant on that counts as well.
        :raises ValueError: nobody declares it, or there can be no such resource: the module's defect.
        :raises StylobateError: UNAVAILABLE; auth does not answer, and it is not known from before.
        """
        return await asked(self._platform.may(self._call.principal, permission, resource))

    async def grants(self, permission: str, under: str = "") -> Sequence[str]:
        """Return the resources on which the principal is granted a permission, sorted: for a list of just these.

        What roles permit everywhere is not among them; ask :meth:`may` first. A name that ends with ``/`` is a prefix.

        :param under: only what lies in this prefix, such as ``state/orders/``; empty: all.
        :raises ValueError: as :meth:`may`. :raises StylobateError: as :meth:`may`; ACCESS_GRANTED_TOO_MANY (10,000).
        """
        return await asked(self._platform.granted(self._call.principal, permission, under))

    def refuse(self, reason: str, detail: str, **metadata: Any) -> NoReturn:
        """Refuse by the module's own rules: 409 with a reason in upper snake case. See :class:`RefusedError` for other statuses.

        :param metadata: texts for programs; they stand in the answer under ``metadata``.
        """
        raise RefusedError(reason, detail, metadata={name: str(value) for name, value in metadata.items()})


class ActionContext(_Context):
    """What a handler may use. Runs in the name of the action's caller."""

    __slots__ = ()


class HookContext(_Context):
    """What a hook may use. Runs as the actions service, with the rights of the subject that caused the event."""

    __slots__ = ()
