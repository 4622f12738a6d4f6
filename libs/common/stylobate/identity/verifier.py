"""Verifies access tokens: signature once, then from memory, the deny-list at every look."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import islice
from typing import Literal

import grpc

from stylobate.errors import TokenInvalidError, TokenRevokedError, UnavailableError
from stylobate.health import Health, Status
from stylobate.identity.access_token import CLOCK_SKEW_S, key_id_of, verify_access_token
from stylobate.identity.auth_feed import AuthFeed, FeedTimings, Metadata
from stylobate.identity.principal import Principal

_STALE_S = 30.0
_RETRY_AFTER = timedelta(seconds=1)


def _no_metadata() -> Metadata:
    return ()


class TokenVerifier:
    """Turns a token into a principal. Use :meth:`open`.

    :param metadata: sent with every call to auth; a caller channel adds the service token by itself.
    :param revocation_stale: what holds when the deny-list could not be refreshed for 30 s: ``allow`` (degraded) or ``deny``.
    :param cache_size: tokens kept; the oldest eighth leaves when it is full.
    :param clock: Unix seconds. :param skew_s: how far auth's clock may be ahead of it.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        metadata: Callable[[], Metadata] = _no_metadata,
        revocation_stale: Literal["allow", "deny"] = "allow",
        cache_size: int = 20_000,
        clock: Callable[[], float] = time.time,
        timings: FeedTimings | None = None,
        skew_s: float = CLOCK_SKEW_S,
    ) -> None:
        self._feed = AuthFeed(channel, metadata, self._changed, self._keys_lost, clock=clock, timings=timings or FeedTimings())
        self._denied = self._feed.denied
        self._denies_when_stale = revocation_stale == "deny"
        self._cache: dict[str, Principal] = {}
        self._cache_size = cache_size
        self._clock = clock
        self._skew_s = skew_s
        self._callbacks: list[Callable[[], None]] = []
        self._on_keys_lost: list[Callable[[], None]] = []

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        channel: grpc.aio.Channel,
        *,
        metadata: Callable[[], Metadata] = _no_metadata,
        revocation_stale: Literal["allow", "deny"] = "allow",
        cache_size: int = 20_000,
        clock: Callable[[], float] = time.time,
        timings: FeedTimings | None = None,
        skew_s: float = CLOCK_SKEW_S,
    ) -> AsyncIterator["TokenVerifier"]:
        """Return a verifier that follows auth until the context ends; it does not wait for auth (:meth:`wait_ready`)."""
        verifier = cls(
            channel,
            metadata=metadata,
            revocation_stale=revocation_stale,
            cache_size=cache_size,
            clock=clock,
            timings=timings,
            skew_s=skew_s,
        )
        async with verifier._feed.open():
            yield verifier

    def cached(self, token: str) -> Principal | None:
        """Return the principal of a token that was verified before and still holds; None when it must be verified.

        :raises TokenRevokedError: it was verified before and has been revoked since.
        :raises UnavailableError: the deny-list is stale and the setting is ``deny``.
        """
        principal = self._cache.get(token)
        if principal is None:
            return None
        if principal.expires_at <= self._clock():
            del self._cache[token]
            return None
        if self._denied.refuses(principal):
            raise TokenRevokedError
        if self._denies_when_stale:
            self._refuse_when_stale()
        return principal

    async def verify(self, token: str) -> Principal:
        """Return who the token names.

        :raises TokenInvalidError, TokenExpiredError, TokenRevokedError: it does not hold.
        :raises UnavailableError: auth's keys were never loaded, or the deny-list is stale and the setting is ``deny``.
        """
        principal = self.cached(token)
        if principal is not None:
            return principal
        key_id = key_id_of(token)
        key = self._feed.keys.get(key_id) or await self._feed.look_for_key(key_id)
        if key is None:
            if not self._feed.keys:
                raise UnavailableError("Tokens cannot be verified: auth has not been reached yet.", retry_after=_RETRY_AFTER)
            raise TokenInvalidError
        principal = verify_access_token(token, key, self._clock(), self._skew_s)
        if self._denied.refuses(principal):
            raise TokenRevokedError
        if self._denies_when_stale:
            self._refuse_when_stale()
        self._remember(token, principal)
        return principal

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether the principal's session, token or subject was revoked since it was verified."""
        return self._denied.refuses(principal)

    @property
    def ready(self) -> asyncio.Event:
        """Set once the keys and the deny-list were loaded."""
        return self._feed.ready

    async def wait_ready(self) -> None:
        """Wait until the keys and the deny-list were loaded."""
        await self._feed.ready.wait()

    @property
    def access_version(self) -> int:
        """Rises when roles, their members or their permissions change."""
        return self._feed.access_version

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, synchronously, whenever decisions made so far no longer count."""
        self._callbacks.append(callback)

    def on_keys_lost(self, callback: Callable[[], None]) -> None:
        """Call back, synchronously, when a key is no longer published: what it proved must be proven again."""
        self._on_keys_lost.append(callback)

    def on_revocation(self, callback: Callable[[], None]) -> None:
        """Call back, synchronously, whenever something was revoked: for who holds a connection open for a token."""
        self._denied.on_added.append(callback)

    async def health(self) -> Health:
        """Unhealthy until loaded; degraded when the deny-list could not be refreshed for 30 s."""
        age = self._feed.age_s
        metrics = {
            "cached_tokens": float(len(self._cache)),
            "revocations": float(len(self._denied)),
            "streaming": float(self._feed.is_streaming),
        }
        if not self._feed.ready.is_set():
            return Health(Status.UNHEALTHY, "waiting for auth's keys and deny-list", metrics)
        if age > _STALE_S:
            return Health(Status.DEGRADED, f"the deny-list is {age:.0f} s old: auth does not answer", metrics)
        if unknown := self._denied.unknown:
            return Health(
                Status.DEGRADED, f"{unknown} revocations are of a kind that this release does not know; upgrade it", metrics
            )
        return Health(metrics=metrics | {"age_s": age})

    def _refuse_when_stale(self) -> None:
        if self._feed.age_s > _STALE_S:
            raise UnavailableError("Whether the token was revoked cannot be told at the moment.", retry_after=_RETRY_AFTER)

    def _remember(self, token: str, principal: Principal) -> None:
        if len(self._cache) >= self._cache_size:
            for old in list(islice(self._cache, max(1, self._cache_size // 8))):
                del self._cache[old]
        self._cache[token] = principal

    def _keys_lost(self) -> None:
        self._cache.clear()  # what a key proved that is no longer published must be proven again
        for callback in self._on_keys_lost:
            callback()

    def _changed(self) -> None:
        for callback in self._callbacks:
            callback()
