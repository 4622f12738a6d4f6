"""API keys: their owners, or who may change keys of others, make, rotate and revoke them; services have them verified here."""

import asyncio
import hmac
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord
from stylobate.errors import InvalidInputError, UnavailableError, Violation
from stylobate.idempotency import Claim
from stylobate.identity import Principal
from stylobate.identity.api_key import SECRET_BYTES, ApiKeyText, prefix_of, refuse_key, write_api_key
from stylobate.identity.public_key import PublicKey
from stylobate.ids import new_id
from stylobate.outbox import Event
from stylobate.paging import page_position, page_size, page_token
from stylobate.rpc.call import Call
from stylobate.stopping import goes_on

from stylobate_auth.access_manager import USER, AccessManager
from stylobate_auth.access_until import refuse_longer
from stylobate_auth.api_key import (
    BELIEVED_FOR,
    ApiKey,
    ApiKeyDraft,
    NewApiKey,
    Standing,
    VerifiedKey,
    change_of,
    revocation_of,
)
from stylobate_auth.api_key_input import check_api_key, check_overlap, check_rate_limit, check_successor
from stylobate_auth.errors import (
    AccountDisabledError,
    AccountUnknownError,
    ApiKeyOverError,
    ApiKeysTooManyError,
    ApiKeyUnknownError,
    AuthInvalidInputError,
)
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.store.port import AuthStore, AuthTransaction

READ, WRITE = "api_keys:read", "api_keys:write"
MAX_PROOFS = 256
_NOTE_EVERY_S = 10.0
_UNKNOWN = VerifiedKey(Standing.UNKNOWN)
Issued = tuple[ApiKey, str]
"""A key with its text, in the only answer that ever holds it."""


class ApiKeyManager:
    """Keeps keys.

    :param environment: where keys are for: ``development``, ``staging`` or ``production``.
    :param most: keys that an account may have at a time.
    :param clock: the time in UTC.
    """

    def __init__(
        self,
        store: AuthStore,
        access: AccessManager,
        revocations: RevocationManager,
        *,
        environment: str,
        most: int,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = new_id,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store = store
        self._access = access
        self._revocations = revocations
        self._environment = environment
        self._most = most
        self._clock = clock
        self._new_id = new_id
        self._random = random
        self._used: dict[tuple[str, str], datetime] = {}

    def prefix(self, key: ApiKey) -> str:
        """Return how the text of a key begins; empty: it has none."""
        return "" if key.public_key else prefix_of(self._environment, key.id)

    async def create(self, principal: Principal, draft: ApiKeyDraft, caller: Call, claim: Claim | None = None) -> Issued:
        """Make a key.

        :raises ApiKeyNotEnoughError: a key asks. :raises PermissionDeniedError: it is for another account, which takes ``WRITE``
            and all that the account's roles permit. :raises AccountUnknownError: there is none.
        :raises AccountDisabledError: nobody is let in to it.
        :raises AuthInvalidInputError: with every finding. :raises ApiKeysTooManyError: the account has enough.
        :raises PublicKeyTakenError: the account has this public key already.
        """
        owner = draft.owner or principal.id
        await self._require(principal, owner, WRITE)
        await self._require_roles_of(principal, owner, draft.expires_at)
        now = self._clock()
        checked, public_key = check_api_key(draft, now)
        new, text = self._new(
            ApiKey(
                tenant=principal.tenant,
                id=self._new_id(),
                owner=owner,
                name=checked.name,
                scopes=checked.scopes,
                allowed_cidrs=checked.allowed_cidrs,
                created_at=now,
                expires_at=checked.expires_at,
                rate_limit=checked.rate_limit,
            ),
            public_key,
        )
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if await transaction.count_api_keys(principal.tenant, owner, now) >= self._most:
                raise ApiKeysTooManyError(f"An account has at most {self._most} API keys.")
            account = await transaction.account(principal.tenant, owner)
            if account is None or account.disabled_at is not None:
                raise AccountUnknownError if account is None else AccountDisabledError
            if public_key is not None and account.email:  # of a person
                violation = Violation("/public_key", "only service accounts prove themselves by one")
                raise AuthInvalidInputError(violations=[violation])
            await transaction.add_api_key(new)
            await transaction.emit(_event("auth.api_key.created", new.key, caller))
            await transaction.record(_record("auth.api_key.create", new.key, caller, scopes=list(new.key.scopes)))
            await transaction.answer(claim, (new.key, ""))  # kept without its text
        return new.key, text

    async def of_account(self, principal: Principal, owner: str, size: int, token: str) -> tuple[Sequence[ApiKey], str]:
        """Return a page of an account's keys, and the token of the next one. Raises PermissionDeniedError, InvalidInputError."""
        owner = owner or principal.id
        await self._require(principal, owner, READ)
        about, limit = ("api_keys", owner), page_size(size)
        found = await self._store.api_keys(principal.tenant, owner, page_position(about, token), limit + 1)
        return found[:limit], page_token(about, found[limit - 1].id) if len(found) > limit else ""

    async def get(self, principal: Principal, key_id: str) -> ApiKey:
        """Return a key. Raises PermissionDeniedError, also for one that is unknown; ApiKeyUnknownError."""
        return await self._find(principal, key_id, READ)

    async def rotate(
        self,
        principal: Principal,
        key_id: str,
        overlap: timedelta,
        caller: Call,
        claim: Claim | None = None,
        *,
        public_key: str = "",
    ) -> Issued:
        """Make the successor of a key; the key itself holds for the overlap.

        :param public_key: of the successor, for a key that has one.
        :raises ApiKeyOverError: it is revoked, expired or was exchanged before. Else as :meth:`create` and :meth:`get`.
        """
        old = await self._find(principal, key_id, WRITE)
        await self._require_roles_of(principal, old.owner, old.expires_at)
        check_overlap(overlap)
        successor = check_successor(old, public_key)
        now = self._clock()
        new, text = self._new(replace(old, id=self._new_id(), created_at=now, last_used_at=None), successor)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            kept = await transaction.replace_api_key(old, new.key.id, now, now + overlap)
            if kept is None:
                raise ApiKeyOverError
            new = replace(new, key=replace(new.key, rate_limit=kept.rate_limit))  # it may have changed since it was read
            await transaction.add_api_key(new)
            if not overlap:
                await self._end(transaction, old, now)
            await transaction.emit(_event("auth.api_key.rotated", old, caller, replaced_by=new.key.id))
            await transaction.record(_record("auth.api_key.rotate", old, caller, replaced_by=new.key.id))
            await transaction.answer(claim, (new.key, ""))
        if not overlap:
            self._revocations.add(revocation_of(old.tenant, old.id, now))
        return new.key, text

    async def limit(self, principal: Principal, key_id: str, rate_limit: str, caller: Call, claim: Claim | None = None) -> ApiKey:
        """Give a key another limit of its own; empty: none. Every process is told.

        :raises ApiKeyOverError: it is revoked or expired. :raises AuthInvalidInputError: no limit reads so. Else as :meth:`get`.
        """
        key, checked = await self._find(principal, key_id, WRITE), check_rate_limit(rate_limit)
        now = self._clock()
        change = change_of(key.tenant, key.id, now)
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            changed = await transaction.limit_api_key(key, checked, now)
            if changed is None:
                raise ApiKeyOverError
            await transaction.revoke(change)
            await transaction.emit(_event("auth.api_key.changed", changed, caller, rate_limit=checked))
            await transaction.record(_record("auth.api_key.change", changed, caller, rate_limit=checked, before=key.rate_limit))
            await transaction.answer(claim, changed)
        self._revocations.add(change)
        return changed

    async def revoke(self, principal: Principal, key_id: str, caller: Call, claim: Claim | None = None) -> None:
        """End a key. One that is over already stays so. Raises as :meth:`get`."""
        key = await self._find(principal, key_id, WRITE)
        now = self._clock()
        async with self._store.transaction() as transaction:
            await transaction.claim(claim)
            if await self._end(transaction, key, now):
                await transaction.emit(_event("auth.api_key.revoked", key, caller))
                await transaction.record(_record("auth.api_key.revoke", key, caller))
            await transaction.answer(claim, None)
        self._revocations.add(revocation_of(key.tenant, key.id, now))

    async def verify(self, proofs: Sequence[ApiKeyText]) -> list[VerifiedKey]:
        """Return how keys stand, each by its id and the hash of its secret. Raises InvalidInputError: too many at once."""
        if len(proofs) > MAX_PROOFS:
            raise InvalidInputError(violations=[Violation("/proofs", f"at most {MAX_PROOFS} at once")])
        found = await self._store.api_keys_by_id([proof.id for proof in proofs])
        now = self._clock()
        return [self._standing(found.get(proof.id), proof, now) for proof in proofs]

    async def run(self) -> None:
        """Write down from time to time which keys were used. Forever."""
        while goes_on():
            await asyncio.sleep(_NOTE_EVERY_S)
            with suppress(UnavailableError):
                await self.note_used()

    async def note_used(self) -> None:
        """Write down which keys were used since it was last done. Raises DatabaseUnavailableError: it stays to be done."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.note_api_keys_used(used)
        except BaseException:
            self._used = used | self._used
            raise

    def stands(self, key: ApiKey) -> VerifiedKey:
        """Return how a key stands whose owner proved it by its private half."""
        return self._held(key, self._clock())

    def _standing(self, found: NewApiKey | None, proof: ApiKeyText, now: datetime) -> VerifiedKey:
        if found is None or found.key.public_key or not hmac.compare_digest(found.secret_hash, proof.secret_hash):
            return _UNKNOWN
        return self._held(found.key, now)

    def _held(self, key: ApiKey, now: datetime) -> VerifiedKey:
        if key.revoked_at is not None:
            return VerifiedKey(Standing.REVOKED)
        if key.expires_at is not None and key.expires_at <= now:
            return VerifiedKey(Standing.EXPIRED)
        self._used[key.tenant, key.id] = now
        return VerifiedKey(Standing.VALID, key, now, min(now + BELIEVED_FOR, key.expires_at or now + BELIEVED_FOR))

    def _new(self, key: ApiKey, public_key: PublicKey | None) -> tuple[NewApiKey, str]:
        text, secret_hash = write_api_key(self._environment, key.id, self._random(SECRET_BYTES))
        if public_key is None:
            return NewApiKey(key, secret_hash), text
        return NewApiKey(replace(key, public_key=public_key.jwk), secret_hash, public_key.thumbprint), ""

    async def _end(self, transaction: AuthTransaction, key: ApiKey, now: datetime) -> bool:
        """Return whether it was not over yet."""
        was_alive = await transaction.end_api_key(key, now)
        await transaction.revoke(revocation_of(key.tenant, key.id, now))
        return was_alive

    async def _find(self, principal: Principal, key_id: str, permission: str) -> ApiKey:
        """Return a key that the principal may see or change."""
        key = await self._store.api_key(principal.tenant, key_id)
        await self._require(principal, "" if key is None else key.owner, permission)
        if key is None:
            raise ApiKeyUnknownError
        return key

    async def _require(self, principal: Principal, owner: str, permission: str) -> None:
        refuse_key(principal)
        if owner != principal.id:
            await self._access.require(principal, permission)

    async def _require_roles_of(self, principal: Principal, owner: str, end: datetime | None) -> None:
        """Return when the principal may have what a key of the account's has: all that its roles permit, and its grants.

        :param end: of the key, which lasts no longer than the principal has that; None: it has none.
        """
        if owner == principal.id and not principal.is_service:
            return
        account = await self._store.account(principal.tenant, owner)
        if account is None:
            raise AccountUnknownError
        roles = set(account.roles) - {USER}
        await self._access.require_roles(principal, roles)
        await self._access.require_grants(principal, owner)
        refuse_longer(await self._access.until.account(principal, owner, roles), end)


def _event(type: str, key: ApiKey, caller: Call, **more: str) -> Event:  # noqa: A002  CloudEvents' own word
    data = {"user_id": key.owner, "api_key_id": key.id, **more}
    actor = caller.principal.id or key.owner
    return Event.new(type, key.owner, data, source="auth", tenant=key.tenant, actor=actor, cause=caller.cause)


def _record(action: str, key: ApiKey, caller: Call, **more: object) -> AuditRecord:
    return AuditRecord(
        action=action,
        actor=caller.principal.id,
        tenant=key.tenant,
        via=caller.principal.via,
        target=f"api_key:{key.id}",
        request_id=caller.request_id,
        detail={"owner": key.owner, "address": caller.client_address, **more},
    )
