"""The port in MongoDB: its reads, and the look into the deny-list."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros
from stylobate.errors import UnavailableError
from stylobate.idempotency import IdempotencyLedger
from stylobate.outbox import Outbox

from stylobate_auth.account_sealing import NO_SEALING, AccountSealing
from stylobate_auth.model import Account, Credentials, Revocation, RevocationPage, Session
from stylobate_auth.store.mongodb.account_texts import MongoAccountTexts
from stylobate_auth.store.mongodb.api_keys import MongoApiKeys
from stylobate_auth.store.mongodb.documents import NOW, account_of, session_of, time_or_none
from stylobate_auth.store.mongodb.failed_logins import MongoFailedLoginCounts
from stylobate_auth.store.mongodb.first_admin import MongoFirstAdmins
from stylobate_auth.store.mongodb.grants import MongoGrants
from stylobate_auth.store.mongodb.kept_data import MongoKeptData
from stylobate_auth.store.mongodb.mail import MongoMailQueue
from stylobate_auth.store.mongodb.pruning import MongoPruning, remove_tokens_of
from stylobate_auth.store.mongodb.refresh import MongoRefreshTokens
from stylobate_auth.store.mongodb.roles import CHANGES, MongoRoles
from stylobate_auth.store.mongodb.service_accounts import MongoServiceAccounts
from stylobate_auth.store.mongodb.signing_keys import MongoSigningKeys
from stylobate_auth.store.mongodb.transaction import MongoAuthTransaction
from stylobate_auth.store.mongodb.users import MongoUsers

# What a transaction wrote before a look may be committed after it, with the time of its writing. The server ends every
# transaction after a minute (transactionLifetimeLimitSeconds).
_LATE_COMMITS = timedelta(seconds=65)
_FEW = 1000
"""Revocations that are read with the time, in one document."""


class MongoAuthStore(
    MongoAccountTexts,
    MongoApiKeys,
    MongoFailedLoginCounts,
    MongoFirstAdmins,
    MongoKeptData,
    MongoGrants,
    MongoPruning,
    MongoRefreshTokens,
    MongoRoles,
    MongoServiceAccounts,
    MongoSigningKeys,
    MongoUsers,
):
    """The port on the service's own database.

    :param outbox: gets the events.
    :param audit: gets the audit records.
    :param ledger: gets the answers of changes with an idempotency key.
    :param sealing: of addresses and names.
    :param on_events: called after a commit that held events (wakes the relay); ``on_mails``, of one that held mails.
    """

    def __init__(
        self,
        database: MongoManager,
        outbox: Outbox[MongoTransaction],
        audit: AuditTrail[MongoTransaction],
        ledger: IdempotencyLedger[MongoTransaction],
        *,
        on_events: Callable[[], None] = lambda: None,
        on_mails: Callable[[], None] = lambda: None,
        sealing: AccountSealing = NO_SEALING,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self._on_events = on_events
        self._on_mails = on_mails
        self.sealing = sealing

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MongoAuthTransaction]:
        async with self._database.transaction() as inner:
            transaction = MongoAuthTransaction(
                self._database, inner, outbox=self._outbox, audit=self._audit, ledger=self._ledger, sealing=self.sealing
            )
            yield transaction
        if transaction.emitted:
            self._on_events()
        if transaction.has_mail:
            self._on_mails()
        with suppress(UnavailableError):  # what is left is done by the next look, or when its time is over
            if transaction.changes_access:
                await self.count_changes()
            if transaction.orphans:
                await remove_tokens_of(self._database, transaction.orphans)

    async def account(self, tenant: str, account_id: str) -> Account | None:
        document = await self._database.find_one("account", {"_id": account_id, "tenant": tenant})
        return None if document is None else await account_of(document, self.sealing)

    async def credentials(self, tenant: str, email_key: str, place: str, now: datetime) -> Credentials | None:
        keys = [*await self.sealing.indexes(tenant, email_key)]
        asked = {"tenant": tenant, "email_key": {"$in": keys}}
        if place:
            there = {"$match": {"_id.place": place, "expires_at": {"$gt": micros(now)}}}
            joined = {
                "from": "login_place",
                "localField": "_id",
                "foreignField": "account_id",
                "pipeline": [there],
                "as": "places",
            }
            documents = await self._database.aggregate("account", [{"$match": asked}, {"$lookup": joined}])
        else:
            documents = await self._database.find("account", asked)
        if not documents:
            return None
        document = documents[0]
        is_known = bool(document.get("places"))
        account = await account_of(document, self.sealing)
        return Credentials(account, document["password_hash"], document["must_verify"], is_known)

    async def credentials_of(self, tenant: str, account_id: str) -> Credentials | None:
        document = await self._database.find_one("account", {"_id": account_id, "tenant": tenant})
        if document is None:
            return None
        return Credentials(await account_of(document, self.sealing), document["password_hash"], document["must_verify"])

    async def session(self, tenant: str, session_id: str) -> Session | None:
        document = await self._database.find_one("session", {"_id": session_id, "tenant": tenant})
        return None if document is None else session_of(document)

    async def sessions(self, tenant: str, account_id: str, now: datetime, before: str, most: int) -> list[Session]:
        whose = {"tenant": tenant, "account_id": account_id, **({"_id": {"$lt": before}} if before else {})}
        alive = {**whose, "ended_at": None, "expires_at": {"$gt": micros(now)}}
        return [*map(session_of, await self._database.find("session", alive, sort=[("_id", -1)], limit=most))]

    async def announce_roles(self, digest: str) -> int:
        another = {"_id": "access", "roles_digest": {"$ne": digest}}
        change = {"$set": {"roles_digest": digest}, "$inc": {"version": 1}}
        state = await self._database.find_and_update("access_state", another, change)
        if state is not None:
            with suppress(UnavailableError):  # who listens looks by itself as well
                await self._database.notify(CHANGES)
        else:
            (state,) = await self._database.find("access_state", {"_id": "access"})
        return int(state["version"])

    async def revocations(self, since: datetime | None) -> RevocationPage:
        # the time and the version first: of what is read after them there may be more than they tell, and never less
        state = await self._look(since)
        if state["changes"]:
            await self.count_changes()
            state = await self._look(since)
        found = state["revocations"] if since is not None else []
        if since is None or len(found) > _FEW:
            found = await self._database.find("revocation", _revoked(since))
        entries = [
            Revocation(
                document["_id"]["tenant"],
                document["_id"]["kind"],
                document["_id"]["id"],
                from_micros(document["expires_at"]),
                time_or_none(document, "not_before"),
            )
            for document in found
        ]
        return RevocationPage(entries, state["version"], from_micros(state["now"]))

    async def now(self) -> datetime:
        return from_micros((await self._look())["now"])

    async def _look(self, since: datetime | None = None) -> Document:
        """Return the time and the version with what is not counted yet, and a few of what was revoked since a time."""
        uncounted = {"from": "access_change", "pipeline": [{"$limit": 1}], "as": "changes"}
        pipeline: list[Document] = [{"$match": {"_id": "access"}}, {"$set": {"now": NOW}}, {"$lookup": uncounted}]
        if since is not None:
            some = [{"$match": _revoked(since)}, {"$limit": _FEW + 1}]
            pipeline.append({"$lookup": {"from": "revocation", "pipeline": some, "as": "revocations"}})
        (state,) = await self._database.aggregate("access_state", pipeline)
        return state

    @asynccontextmanager
    async def listen(self, callback: Callable[[], None]) -> AsyncIterator[None]:
        listening = await self._database.listen(CHANGES, lambda _channel: callback())
        try:
            yield
        finally:
            await listening.close()

    async def note(self, record: AuditRecord) -> None:
        await self._audit.note(record)

    def mails(self) -> MongoMailQueue:
        return MongoMailQueue(self._database, self.sealing)


def _revoked(since: datetime | None) -> Document:
    in_force: Document = {"$expr": {"$gt": ["$expires_at", NOW]}}
    return in_force if since is None else {"changed_at": {"$gte": micros(since - _LATE_COMMITS)}, **in_force}
