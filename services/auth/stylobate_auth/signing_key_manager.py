"""Signing keys: loaded from the database, exchanged by schedule or by who may."""

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord
from stylobate.config import ConfigError
from stylobate.encryption import KeyEncryption, KeyNotOpenedError
from stylobate.errors import UnavailableError
from stylobate.health import Health, Status
from stylobate.idempotency import Claim
from stylobate.identity import DEFAULT_TENANT, Principal, PrincipalKind
from stylobate.identity.access_token import ISSUER
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.rpc.call import Call
from stylobate.stopping import goes_on

from stylobate_auth.access_manager import AccessManager
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.signing_key import (
    KEPT_FOR,
    Algorithm,
    Place,
    PrivateKey,
    SigningKey,
    algorithm_of,
    from_der,
    make_private_key,
    public_jwk,
    to_der,
)
from stylobate_auth.store.port import AuthStore, AuthTransaction

READ, WRITE = "signing_keys:read", "signing_keys:write"
_LOOK_EVERY = timedelta(seconds=5)
_ISSUER_KEPT = 2 * KEPT_FOR
_SELF = Call(principal=Principal(PrincipalKind.SERVICE, "service:auth"))
_NOT_OPENED = (
    "STYLOBATE_AUTH_KEY_ENCRYPTION_KEY: the signing keys in the database were sealed with another one; set "
    "STYLOBATE_AUTH_KEY_ENCRYPTION_KEY_BEFORE to that (where neither was ever set: to the former STYLOBATE_AUTH_SIGNING_KEY)"
)
_log = get_logger("security")


class SigningKeyManager:
    """Keeps the ring as the database has it.

    A new key is published for the notice before it is used, so that every verifier has loaded it by then, and a former one until
    the last token that it signed has expired: nobody notices that keys are exchanged.

    :param first: what the first key is, where there is none yet.
    :param every: how long a key is used; zero: until somebody exchanges it.
    :param algorithm: of new keys; where the newest key is of another one it is exchanged.
    """

    def __init__(
        self,
        store: AuthStore,
        ring: KeyRing,
        encryption: KeyEncryption,
        access: AccessManager,
        *,
        first: PrivateKey,
        algorithm: Algorithm,
        every: timedelta,
        notice: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self.ring = ring
        """What signs; it stays the same."""
        self._encryption = encryption
        self._access = access
        self._first = first
        self._algorithm = algorithm
        self._every = every
        self._notice = notice
        self._clock = clock
        self._issuer_counts_until: datetime | None = None
        self._unopened: list[str] = []
        self._opened_at: dict[str, datetime] = {}

    async def start(self) -> None:
        """Load the keys; make the first one where there is none.

        :raises DatabaseUnavailableError, KeyEncryptionUnavailableError: try again. :raises ConfigError: no key can be opened.
        """
        now = self._clock()
        async with self._store.transaction() as transaction:
            if not await transaction.hold_signing_keys():
                await transaction.add_signing_key(await self._sealed(self._first, now, now))
        await self.look()
        try:
            self.ring.signer(now)
        except UnavailableError:
            raise ConfigError([_NOT_OPENED]) from None

    async def run(self) -> None:
        """Follow the database and the schedule, forever."""
        failed = False
        while goes_on():
            await asyncio.sleep(min(_LOOK_EVERY, self._notice / 4).total_seconds())
            try:
                await self.look()
                await self.rotate_if_due()
            except UnavailableError as error:
                if not failed:
                    _log.warning("signing_keys_not_read", error=str(error))
                failed = True
            else:
                failed = False

    async def look(self) -> None:
        """Read what the database has. Raises DatabaseUnavailableError, KeyEncryptionUnavailableError."""
        now = self._clock()
        await self._keep_issuer(now)
        keys, issuers = await self._store.signing_keys(now)
        private: dict[str, PrivateKey] = {}
        unopened: list[str] = []
        away: UnavailableError | None = None
        for key in keys:
            try:
                private[key.id] = await self._private(key, now)
            except KeyNotOpenedError:
                unopened.append(key.id)
            except UnavailableError as error:
                away = error
        if unopened and unopened != self._unopened:
            _log.error("signing_keys_not_opened", keys=unopened, cure="every auth process needs the same key-encryption key")
        self._unopened = unopened
        self.ring.take(keys, private, {self.ring.issuer, *issuers})
        if away is not None:
            raise away
        for key in keys:
            if key.sealed_by != self._encryption.id and key.id in private:
                sealed = await self._encryption.seal(to_der(private[key.id]), key.id)
                await self._store.reseal_signing_key(key, sealed.data, sealed.by)

    async def _private(self, key: SigningKey, now: datetime) -> PrivateKey:
        """Return the private half: opened before, and anew where that lasts for a time only.

        Raises KeyNotOpenedError, UnavailableError.
        """
        known, lasts = self.ring.private(key.id), self._encryption.lasts
        age = now - self._opened_at.get(key.id, now)
        if known is not None and (lasts is None or age < lasts / 2):
            return known
        try:
            opened = await self._open(key)
        except UnavailableError:
            if known is None or lasts is None or age >= lasts:
                raise
            return known
        self._opened_at[key.id] = now
        return opened

    async def rotate_if_due(self) -> None:
        """Publish the next key when the schedule says so. Raises DatabaseUnavailableError."""
        if self._is_due(self.published()):
            await self._rotate(_SELF, None, if_due=True)

    async def rotate(self, principal: Principal, caller: Call, claim: Claim | None = None) -> SigningKey:
        """Make the next key and return it; where one waits already that one.

        :raises PermissionDeniedError, ApiKeyNotEnoughError: the caller may not.
        """
        await self._access.require_of_person(principal, WRITE)
        return await self._rotate(caller, claim, if_due=False)

    async def all(self, principal: Principal) -> list[tuple[SigningKey, Place]]:
        """Return the published keys, the newest first. Raises as :meth:`rotate`."""
        await self._access.require_of_person(principal, READ)
        return self.published()

    def published(self) -> list[tuple[SigningKey, Place]]:
        """Return the published keys, the newest first."""
        return self.ring.published(self._clock())

    def jwks(self) -> tuple[bytes, list[str]]:
        """Return the key set, and the issuers whose tokens count."""
        return self.ring.jwks(self._clock()), sorted(self.ring.issuers)

    def place(self, key: SigningKey) -> Place:
        """Return where a key stands that was just made or found."""
        return Place.NEXT if key.signs_from > self._clock() else Place.CURRENT

    async def prune(self, now: datetime) -> int:
        """Remove keys that are not published any more."""
        return await self._store.remove_signing_keys(now - KEPT_FOR)

    async def health(self) -> Health:
        """Degraded while a published key cannot be opened here."""
        metrics = {"signing_keys": float(len(self.published()))}
        if self._unopened:
            return Health(Status.DEGRADED, "this process lacks the key-encryption key of a signing key", metrics)
        return Health(metrics=metrics)

    async def _rotate(self, caller: Call, claim: Claim | None, *, if_due: bool) -> SigningKey:
        made = await asyncio.to_thread(make_private_key, self._algorithm)
        now = self._clock()
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            keys = await transaction.hold_signing_keys()
            newest = keys[-1]
            place = Place.NEXT if newest.signs_from > now else Place.CURRENT
            key = newest
            if place is Place.CURRENT and (not if_due or self._is_due([(newest, place)])):
                key = await self._sealed(made, now, now + self._notice)
                await transaction.add_signing_key(key)
                await self._tell(transaction, key, newest, caller)
            await transaction.answer(claim, key)
        if key is not newest:
            _log.info("signing_key_published", key=key.id, algorithm=key.algorithm, signs_from=key.signs_from.isoformat())
        await self.look()
        return key

    def _is_due(self, places: list[tuple[SigningKey, Place]]) -> bool:
        newest, place = places[0]
        if place is Place.NEXT:
            return False
        ends = self._clock() + self._notice - self._every
        return newest.algorithm != self._algorithm or (bool(self._every) and newest.signs_from <= ends)

    async def _sealed(self, private: PrivateKey, published_at: datetime, signs_from: datetime) -> SigningKey:
        jwk = public_jwk(private)
        sealed = await self._encryption.seal(to_der(private), jwk["kid"])
        return SigningKey(jwk["kid"], algorithm_of(private), json.dumps(jwk), sealed.data, sealed.by, published_at, signs_from)

    async def _open(self, key: SigningKey) -> PrivateKey:
        return from_der(await self._encryption.open(key.sealed, key.sealed_by, key.id))

    async def _keep_issuer(self, now: datetime) -> None:
        """Note from time to time that tokens are made in this name."""
        if self.ring.issuer == ISSUER or (self._issuer_counts_until or now) - now > KEPT_FOR:
            return
        until = now + _ISSUER_KEPT
        await self._store.keep_issuer(self.ring.issuer, until)
        self._issuer_counts_until = until

    @staticmethod
    async def _tell(transaction: AuthTransaction, key: SigningKey, newest: SigningKey, caller: Call) -> None:
        actor = caller.principal.id
        facts = {"algorithm": key.algorithm, "signs_from": key.signs_from.isoformat(), "replaces": newest.id}
        await transaction.emit(
            Event.new(
                "auth.signing_key.rotated",
                key.id,
                {"key_id": key.id, **facts},
                source="auth",
                tenant=DEFAULT_TENANT,
                actor=actor,
                cause=caller.cause,
            )
        )
        await transaction.record(
            AuditRecord(
                action="auth.signing_key.rotate",
                actor=actor,
                tenant=DEFAULT_TENANT,
                via=caller.principal.via,
                target=f"signing_key:{key.id}",
                request_id=caller.request_id,
                detail=facts,
            )
        )
