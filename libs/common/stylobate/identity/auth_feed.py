"""What a verifier keeps of auth: public keys, the deny-list and the version of roles, fed by tasks of its own.

The deny-list comes twice: by a stream (the whole list, then additions, a message every second at least) and by a look
every 5 s, which is what remains when the stream is cut.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import Any

import grpc

from stylobate.api.auth.v1.token_service_pb2 import (
    GetJwksRequest,
    ListRevocationsRequest,
    ListRevocationsResponse,
    WatchRevocationsRequest,
    WatchRevocationsResponse,
)
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.errors import StylobateError
from stylobate.identity.access_token import ISSUER, KeySet, parse_jwks
from stylobate.identity.compact_token import VerifyingKey
from stylobate.identity.deny_list import DenyList
from stylobate.logs import get_logger
from stylobate.resilience import Interruption, backoff
from stylobate.stopping import end, goes_on

_FAULTS = (StylobateError, OSError, ValueError, TimeoutError)
_CALL_TIMEOUT_S = 2.0
_KEYS, _LIST, _STREAM = "keys", "list", "stream"
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class FeedTimings:
    """How often and how patiently auth is asked."""

    list_every: timedelta = timedelta(seconds=5)
    keys_every: timedelta = timedelta(minutes=5)
    unknown_key_pause: timedelta = timedelta(seconds=1)
    """Between two looks for keys that tokens with unknown key ids can cause."""
    silence: timedelta = timedelta(seconds=3)
    """A stream that says nothing for so long is opened again."""
    retry_initial: timedelta = timedelta(milliseconds=50)
    retry_maximum: timedelta = timedelta(seconds=2)
    retry_at_start: timedelta = timedelta(milliseconds=200)
    """At most, before there are keys: nothing is served until then."""


class AuthFeed:
    """Keys, deny-list and access version, kept current while it is open.

    :param channel: to auth; its calls fail with StylobateErrors.
    :param on_change: called when the access version changed; more may be added.
    :param on_keys_lost: the same, when a key is no longer published.
    :param clock: Unix seconds, for the expiry of entries.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        on_change: Sequence[Callable[[], None]],
        on_keys_lost: Sequence[Callable[[], None]],
        *,
        clock: Callable[[], float],
        timings: FeedTimings,
    ) -> None:
        self._stub: Any = TokenServiceStub(channel)
        self._on_change = on_change
        self._on_keys_lost = on_keys_lost
        self._clock = clock
        self._timings = timings
        self._keys_at = -float("inf")
        self._keys_lock = asyncio.Lock()
        self._listed_at = -float("inf")
        self.is_streaming = False
        """Whether the stream is up."""
        self._interruptions = {what: Interruption("auth_feed_interrupted") for what in (_KEYS, _LIST, _STREAM)}
        self._tasks: list[asyncio.Task[None]] = []
        self.keys: KeySet = {}
        self.issuers: frozenset[str] = frozenset({ISSUER})
        """Of whom tokens are taken."""
        self.denied = DenyList()
        self.access_version = 0
        self.ready = asyncio.Event()
        """Set once keys and deny-list were loaded."""

    def start(self) -> None:
        """Run the feed."""
        for what, work in ((_KEYS, self._keep_keys), (_LIST, self._keep_list), (_STREAM, self._watch)):
            self._tasks.append(asyncio.create_task(self._for_ever(what, work), name=f"verifier-{what}"))

    async def stop(self) -> None:
        """End it."""
        await end(self._tasks)

    @property
    def age_s(self) -> float:
        """Seconds since the deny-list was last known to be current; infinite before it was loaded."""
        return monotonic() - self._listed_at

    async def look_for_key(self, key_id: str) -> VerifyingKey | None:
        """Return the key of an id that is not known yet: ask auth, at most once in the pause of the timings."""
        await self._look_again(lambda: key_id in self.keys)
        return self.keys.get(key_id)

    async def look_for_issuer(self, issuer: str) -> bool:
        """Return whether tokens of this issuer are taken; where that is not known yet auth is asked, as for a key."""
        await self._look_again(lambda: issuer in self.issuers)
        return issuer in self.issuers

    async def _look_again(self, is_known: Callable[[], bool]) -> None:
        async with self._keys_lock:  # the callers that waited find what the first one fetched
            if not is_known() and monotonic() - self._keys_at >= self._timings.unknown_key_pause.total_seconds():
                try:
                    await self._load_keys()
                except _FAULTS as error:
                    self._keys_at = max(self._keys_at, monotonic())  # the pause holds for failures too
                    _log.warning("keys_not_refreshed", error=f"{type(error).__name__}: {error}")

    async def _for_ever(self, what: str, work: Callable[[], Any]) -> None:
        """Run the work again and again; wait between failures, and say of a row that it began and that it lasts."""
        waits = self._waits()
        while goes_on():
            try:
                await work()
            except _FAULTS as error:
                if self.ready.is_set():
                    self._interruptions[what].note(feed=what, error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(next(waits))
            except Exception:  # noqa: BLE001  a defect must not end the feed that revocations come by
                _log.exception("auth_feed_failed", feed=what)
                await asyncio.sleep(next(waits))
            else:
                waits = self._waits()

    def _is_well(self, what: str) -> None:
        if self._interruptions[what].over():
            _log.info("auth_feed_resumed", feed=what)

    def _waits(self) -> Any:
        maximum = self._timings.retry_maximum if self.ready.is_set() else self._timings.retry_at_start
        return backoff(self._timings.retry_initial.total_seconds(), maximum=maximum.total_seconds())

    async def _keep_keys(self) -> None:
        async with self._keys_lock:
            await self._load_keys()
        self._is_well(_KEYS)
        await asyncio.sleep(self._timings.keys_every.total_seconds())

    async def _load_keys(self) -> None:
        response = await self._stub.GetJwks(GetJwksRequest(), timeout=_CALL_TIMEOUT_S)
        keys = parse_jwks(response.jwks)
        if not keys:
            raise ValueError("auth's key set holds no key")
        lost = self.keys.keys() - keys.keys()
        self.keys = keys
        self.issuers = frozenset({ISSUER, *response.issuers})
        self._keys_at = monotonic()
        if lost:
            for callback in self._on_keys_lost:
                callback()
        self._note_ready()

    async def _keep_list(self) -> None:
        request = ListRevocationsRequest()
        response = await self._stub.ListRevocations(request, timeout=_CALL_TIMEOUT_S)
        self._take(response)
        self.denied.prune(self._clock())
        self._is_well(_LIST)
        await asyncio.sleep(self._timings.list_every.total_seconds())

    async def _watch(self) -> None:
        call = self._stub.WatchRevocations(WatchRevocationsRequest())
        try:
            messages = aiter(call)
            while goes_on():
                async with asyncio.timeout(self._timings.silence.total_seconds()):  # wait_for can lose a cancellation
                    message = await anext(messages)
                self.is_streaming = True
                self._is_well(_STREAM)
                self._take(message)
        except StopAsyncIteration:
            pass  # the server ended it in good order: open the next one
        except _FAULTS:
            if not self.is_streaming:
                raise
            # it worked until now (a restart, a connection that came of age): open the next one at once
        finally:
            self.is_streaming = False
            call.cancel()

    def _take(self, message: ListRevocationsResponse | WatchRevocationsResponse) -> None:
        self.denied.merge(message.revocations)
        self._listed_at = max(self._listed_at, monotonic() - message.age.ToNanoseconds() / 1e9)
        if message.access_version != self.access_version:
            self.access_version = message.access_version
            for callback in self._on_change:
                callback()
        self._note_ready()

    def _note_ready(self) -> None:
        if self.keys and self._listed_at > -float("inf"):
            self.ready.set()
