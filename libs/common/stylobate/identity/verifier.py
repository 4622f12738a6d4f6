"""Verifies access tokens and API keys: once, then from memory, the deny-list at every look."""

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Literal, Self

import grpc

from stylobate.bounded_dict import BoundedDict
from stylobate.errors import TokenExpiredError, TokenInvalidError, TokenRevokedError, UnavailableError
from stylobate.health import Health, Status
from stylobate.identity.access_token import CLOCK_SKEW_S, IssuerUnknownError, key_id_of, verify_access_token
from stylobate.identity.api_key import ApiKeyExpiredError, ApiKeyRevokedError, is_api_key
from stylobate.identity.api_key_proofs import ApiKeyProofs
from stylobate.identity.auth_feed import AuthFeed, FeedTimings
from stylobate.identity.compact_token import VerifyingKey
from stylobate.identity.principal import Principal

_STALE_S = 30.0
_RETRY_AFTER = timedelta(seconds=1)


class TokenVerifier:
    """Turns a token or an API key into a principal; an async context manager.

    It follows auth while it is open and does not wait for it. Auth is asked about a key that is not known, and again after ten
    minutes.

    :param channel: to auth, in this service's own name.
    :param revocation_stale: what holds when the deny-list could not be refreshed for 30 s: ``allow`` (degraded) or ``deny``.
    :param cache_size: tokens and keys kept.
    :param environment: that API keys must be for; empty: any.
    :param clock: Unix seconds. :param skew_s: how far auth's clock may be ahead of it.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        revocation_stale: Literal["allow", "deny"] = "allow",
        cache_size: int = 20_000,
        clock: Callable[[], float] = time.time,
        timings: FeedTimings | None = None,
        skew_s: float = CLOCK_SKEW_S,
        environment: str = "",
    ) -> None:
        self._proofs = ApiKeyProofs(channel, environment)
        self._cache: BoundedDict[str, Principal] = BoundedDict(cache_size)
        self._callbacks: list[Callable[[], None]] = []
        # what a key proved that is no longer published must be proven again
        self._on_keys_lost: list[Callable[[], None]] = [self._cache.clear]
        self._feed = AuthFeed(channel, self._callbacks, self._on_keys_lost, clock=clock, timings=timings or FeedTimings())
        self.ready = self._feed.ready
        """Set once the keys and the deny-list were loaded."""
        self._denied = self._feed.denied
        self._denied.on_key_changed.append(self._forget)
        self._changes = 0
        """How often it was heard that an API key changed."""
        self._denies_when_stale = revocation_stale == "deny"
        self._clock = clock
        self._skew_s = skew_s

    async def __aenter__(self) -> Self:
        """Begin to follow auth."""
        self._feed.start()
        await self._proofs.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Follow it no longer."""
        await self._feed.stop()
        await self._proofs.__aexit__(kind, error, trace)

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
            if not principal.sends_key:
                raise TokenRevokedError
            if self._denied.names(principal):
                raise ApiKeyRevokedError
            del self._cache[token]  # all that its owner had was ended, which may have left keys alone: auth knows
            return None
        if self._denies_when_stale and self._feed.age_s > _STALE_S:
            raise UnavailableError("Whether the token was revoked cannot be told at the moment.", retry_after=_RETRY_AFTER)
        return principal

    async def verify(self, token: str) -> Principal:
        """Return who the token names.

        :raises TokenInvalidError, TokenExpiredError, TokenRevokedError: it does not hold; of API keys subclasses of these.
        :raises UnavailableError: auth cannot be asked about a key, its own keys were never loaded, or the deny-list is stale and
            the setting is ``deny``.
        """
        principal = self.cached(token)
        if principal is not None:
            return principal
        if is_api_key(token):
            return await self._prove(token)
        key_id = key_id_of(token)
        key = self._feed.keys.get(key_id) or await self._feed.look_for_key(key_id)
        if key is None:
            if not self._feed.keys:
                raise UnavailableError("Tokens cannot be verified: auth has not been reached yet.", retry_after=_RETRY_AFTER)
            raise TokenInvalidError
        try:
            principal = self._read(token, key)
        except IssuerUnknownError as error:
            if not await self._feed.look_for_issuer(error.issuer):
                raise
            principal = self._read(token, key)
        self._cache.put(token, principal)
        verified = self.cached(token)
        if verified is None:
            raise TokenExpiredError  # just now
        return verified

    def _read(self, token: str, key: VerifyingKey) -> Principal:
        return verify_access_token(token, key, self._clock(), self._skew_s, self._feed.issuers)

    async def renew(self, key: str) -> Principal:
        """Return who an API key stands for, as auth says now. Raises as :meth:`verify`."""
        return await self._prove(key)

    async def _prove(self, token: str) -> Principal:
        while True:
            heard = self._changes
            principal = await self._proofs.prove(token)
            if self._changes == heard:
                break  # else it may have changed while auth was asked
        if self._denied.names(principal):  # while auth was asked
            raise ApiKeyRevokedError
        if principal.expires_at <= self._clock():
            raise ApiKeyExpiredError  # just now
        self._cache.put(token, principal)
        return principal

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether the principal's session, token or subject was revoked since it was verified."""
        return self._denied.refuses(principal)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back, synchronously, whenever decisions made so far no longer count."""
        self._callbacks.append(callback)

    def on_keys_lost(self, callback: Callable[[], None]) -> None:
        """Call back, synchronously, when a key is no longer published: what it proved must be proven again."""
        self._on_keys_lost.append(callback)

    def on_revocation(self, callback: Callable[[], None]) -> None:
        """Call back, synchronously, whenever something was revoked: for who holds a connection open for a token."""
        self._denied.on_added.append(callback)

    def on_key_changed(self, callback: Callable[[str, str], None]) -> None:
        """Call back, synchronously, with tenant and id of an API key that changed: for who keeps what it was before."""
        self._denied.on_key_changed.append(callback)

    def _forget(self, tenant: str, key_id: str) -> None:
        """Have auth asked again about an API key."""
        self._changes += 1
        found = [token for token, who in self._cache.items() if who.sends_key and (who.tenant, who.token_id) == (tenant, key_id)]
        for token in found:
            del self._cache[token]

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
