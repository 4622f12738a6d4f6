"""HooksManager: code that reacts to events, durably or live."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import grpc.aio

from stylobate.health import Health, Status
from stylobate.hooks.durable import DurableHooks
from stylobate.hooks.hook import Callback, Delivery, Hook, sources_of
from stylobate.hooks.live import LiveHooks
from stylobate.hooks.port import HookStore
from stylobate.hooks.runs import Patience
from stylobate.leases import LeaseManager
from stylobate.outbox import EventPattern
from stylobate.redis import RedisManager

_TIMEOUT = timedelta(seconds=30)


class HooksManager:
    """Runs the hooks of a service. Register them with :meth:`on`, then keep :meth:`run` going.

    ``one``: of all processes of the service one handles each event, at least once, in order per subject; it reads the log
    of the event's source from a position kept in the store, and goes on there after a crash or in another
    process. ``each``: every process hears each event live, at most once.
    """

    def __init__(
        self,
        redis: RedisManager,
        *,
        store: HookStore | None = None,
        leases: LeaseManager | None = None,
        channel: Callable[[str], grpc.aio.Channel] | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Keep the parts. Store, leases and channels are needed by ``one`` hooks only.

        :param channel: gives the channel to a service, such as ``app.channel``.
        """
        self._redis = redis
        self._store = store
        self._leases = leases
        self._channel = channel
        self._patience = patience or Patience()
        self._hooks: dict[str, Hook] = {}
        self._durable: DurableHooks | None = None
        self._live: LiveHooks | None = None
        self._begun = asyncio.Event()

    def on(
        self,
        pattern: str,
        callback: Callback,
        *,
        name: str,
        priority: int = 10,
        delivery: Delivery = "one",
        timeout: timedelta = _TIMEOUT,
    ) -> None:
        """Register a hook; before :meth:`run`.

        :param pattern: of event types: ``state.*.transitioned``.
        :param callback: gets the event. May get it again: let it act by ``event.id``. When it fails, the subject stands
            aside and the others go on. Whether the event is tried again says :mod:`stylobate.hooks.verdict`: for as long as
            ``outage_limit`` while what it needs is unavailable, 8 times, or not at all; then it is a dead letter.
        :param name: of the hook in this service; a ``one`` hook goes on under it where it stopped. A new one begins at
            the end of the log.
        :param priority: among ``each`` hooks the lower number hears an event first; ``one`` hooks go their own pace each.
        :param timeout: of one run.
        :raises ValueError: a name that is taken, ``one`` without a store, or hooks that run already.
        :raises EventPatternInvalidError: an invalid pattern.
        """
        if self._begun.is_set():
            raise ValueError("hooks are registered before they run")
        if name in self._hooks:
            raise ValueError(f"there is a hook {name} already")
        if delivery == "one" and (self._store is None or self._leases is None or self._channel is None):
            raise ValueError(f"hook {name} is durable: that needs a store, leases and channels")
        parsed = EventPattern.parse(pattern)
        self._hooks[name] = Hook(name, parsed, callback, delivery, priority, sources_of(parsed), timeout)

    async def run(self) -> None:
        """Run the hooks, forever."""
        durable = [hook for hook in self._hooks.values() if hook.delivery == "one"]
        live = [hook for hook in self._hooks.values() if hook.delivery == "each"]
        if durable and self._store is not None and self._leases is not None and self._channel is not None:
            self._durable = DurableHooks(durable, self._store, self._leases, self._channel, self._patience)
        if live:
            self._live = LiveHooks(self._redis, live)
        self._begun.set()
        if not self._hooks:
            await asyncio.Event().wait()  # work that ends by itself counts as a failure
        async with asyncio.TaskGroup() as group:
            for part in (self._durable, self._live):
                if part is not None:
                    group.create_task(part.run())

    async def ready(self) -> None:
        """Return when nothing that happens from now on is missed by a ``one`` hook, and ``each`` hooks listen."""
        await self._begun.wait()
        if self._durable is not None:
            await self._durable.ready()
        if self._live is not None:
            await self._live.ready()

    async def health(self) -> Health:
        """Tell how far behind the durable hooks of this process are; unhealthy until all are registered with their logs."""
        if self._durable is not None:
            return await self._durable.health()
        if self._begun.is_set() or all(hook.delivery == "each" for hook in self._hooks.values()):
            return Health()
        return Health(Status.UNHEALTHY, "hooks do not run yet")
