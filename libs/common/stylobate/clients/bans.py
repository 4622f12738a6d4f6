"""The bans as a process knows them: pushed by the ratelimit service, looked at without asking anybody.

They come by a stream: the whole list, then changes, a message every second at least. While nobody can be asked, known bans hold
until they expire.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Ban, WatchBansRequest, WatchBansResponse
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub
from stylobate.errors import StylobateError
from stylobate.health import Health, Status
from stylobate.identity.client_address import limit_key
from stylobate.identity.networks import Networks
from stylobate.identity.principal import ANONYMOUS, DEFAULT_TENANT, Principal
from stylobate.logs import get_logger
from stylobate.resilience import Interruption, backoff
from stylobate.stopping import end, goes_on
from stylobate.telemetry import counter

_SILENCE_S = 3.0
"""A stream that says nothing for so long is opened again."""
_STALE_S = 30.0
_PRUNE_EVERY_S = 30.0
_FAULTS = (StylobateError, OSError, TimeoutError)
_log = get_logger("app")


class BannedError(StylobateError):
    """The caller, or where the call comes from, is banned; nothing was charged. Metadata: level."""

    code = grpc.StatusCode.PERMISSION_DENIED
    reason = "BANNED"
    default_detail = "You are banned for the time being."
    cure = "Wait for the time in Retry-After, if there is one; else ask the operator, who can lift the ban."


_Key = tuple[str, str, str]
"""Level, tenant, subject."""


class BanList:
    """Bans held in memory.

    :param clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until: dict[_Key, float] = {}
        self._networks = Networks()
        self._pruned_at = clock()
        self._refused = counter("banned_requests", "Requests, messages and calls of who is banned.", ("level",))
        self.on_added: list[Callable[[], None]] = []
        """Called, synchronously, after bans came in that were not known before."""

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._until)

    async def health(self) -> Health:
        """Healthy: nobody tells it anything."""
        return Health(metrics={"bans": float(len(self))})

    def refuse(self, address: str, principal: Principal = ANONYMOUS) -> None:
        """Return when none is banned of these: the address, who calls, its session, its key, its tenant. Raises BannedError."""
        if self._until and (found := self.find(address, principal)) is not None:
            level, left_s = found
            self._refused.labels(level).inc()
            raise BannedError(metadata={"level": level}, retry_after=None if left_s == inf else timedelta(seconds=left_s))

    def find(self, address: str, principal: Principal = ANONYMOUS) -> tuple[str, float] | None:
        """Return the level of the ban that lasts longest and the seconds left of it; None: none is banned."""
        keys = [("ip", DEFAULT_TENANT, limit_key(address))] if address else []
        if address and self._networks:
            keys += [("ip", DEFAULT_TENANT, network) for network in self._networks.around(limit_key(address))]
        if not principal.is_anonymous:
            tenant = principal.tenant
            keys += [
                ("user", tenant, principal.id),
                ("session", tenant, principal.session),
                ("api_key", tenant, principal.key_id or principal.token_id),
                ("tenant", tenant, tenant),
            ]
        now = self._clock()
        found = [(self._until[key] - now, key[0]) for key in keys if self._until.get(key, 0.0) > now]
        return (max(found)[1], max(found)[0]) if found else None

    def take(self, message: WatchBansResponse) -> None:
        """Take what a message of the stream tells, and forget from time to time what is over."""
        now = self._clock()
        is_pruned = now - self._pruned_at > _PRUNE_EVERY_S
        if is_pruned:
            self._pruned_at = now
            self._until = {key: until for key, until in self._until.items() if until > now}
        told = {_key(ban): now + ban.remaining.ToNanoseconds() / 1e9 if ban.HasField("until") else inf for ban in message.bans}
        is_new = bool(told.keys() - self._until.keys())
        if message.complete:
            self._until = told
        else:
            for lifted in message.lifted:
                self._until.pop((lifted.level, lifted.tenant, lifted.subject), None)
            self._until.update(told)
        if message.complete or is_pruned:  # what was lifted meanwhile is found there, and is not banned
            self._networks = Networks()
        for level, _, subject in self._until if message.complete or is_pruned else told:
            if level == "ip":
                self._networks.add(subject)
        for callback in self.on_added if is_new else ():
            callback()


class BanFeed(BanList):
    """The list, kept current while it is open: ``async with BanFeed(channel) as bans``. It waits for nobody.

    :param channel: to ratelimit, in this service's own name.
    """

    def __init__(self, channel: grpc.aio.Channel, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(clock)
        self._stub: Any = RateLimitServiceStub(channel)  # type: ignore[no-untyped-call,unused-ignore]  # as generated
        self._interruption = Interruption("bans_interrupted")
        self._opened_at = monotonic()
        self._heard_at = -inf
        self._is_streaming = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to follow."""
        self._tasks.append(asyncio.create_task(self._follow(), name="bans"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Follow no longer."""
        await end(self._tasks)

    async def health(self) -> Health:
        """Degraded when nothing was heard for 30 s: known bans hold, new ones are not heard of."""
        age = monotonic() - max(self._heard_at, self._opened_at)
        metrics = {"bans": float(len(self)), "streaming": float(self._is_streaming)}
        if age > _STALE_S:
            return Health(Status.DEGRADED, f"the list of bans is {age:.0f} s old: ratelimit does not tell of any", metrics)
        return Health(metrics=metrics)

    async def _follow(self) -> None:
        waits = backoff(0.05, maximum=2.0)
        while goes_on():
            try:
                await self._watch()
            except _FAULTS as error:
                self._interruption.note(error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(next(waits))
            except Exception:  # noqa: BLE001  a defect must not end the feed that bans come by
                _log.exception("bans_failed")
                await asyncio.sleep(next(waits))
            else:
                waits = backoff(0.05, maximum=2.0)

    async def _watch(self) -> None:
        stream = self._stub.WatchBans(WatchBansRequest())
        try:
            messages = aiter(stream)
            while goes_on():
                async with asyncio.timeout(_SILENCE_S):  # wait_for can lose a cancellation
                    message = await anext(messages)
                self._is_streaming = True
                if self._interruption.over():
                    _log.info("bans_resumed")
                self._heard_at = max(self._heard_at, monotonic() - message.age.ToNanoseconds() / 1e9)
                self.take(message)
        except StopAsyncIteration:
            pass  # the server ended it in good order: open the next one
        except _FAULTS:
            if not self._is_streaming:
                raise
            # it worked until now (a restart, a connection that came of age): open the next one at once
        finally:
            self._is_streaming = False
            stream.cancel()


def _key(ban: Ban) -> _Key:
    return ban.level, ban.tenant, ban.subject
