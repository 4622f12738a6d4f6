"""Changes in MongoDB, together with their events and audit records."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import UpdateOne
from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database.mongodb import DuplicateError, MongoManager, MongoTransaction, micros
from stylobate.idempotency import Claim, IdempotencyLedger, KeyTakenError
from stylobate.outbox import Event, Outbox

from stylobate_auth.account_input import email_key as email_key_of
from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.errors import EmailTakenError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import Account, NewAccount, NewMail, Revocation, RevocationKind, Session, SessionEnd, UsedMailToken
from stylobate_auth.refresh_token import RefreshToken
from stylobate_auth.role import HeldRole
from stylobate_auth.store.mongodb.api_keys import MongoApiKeyChanges
from stylobate_auth.store.mongodb.documents import NOW, account_of, from_session, given, micros_or_none, session_of
from stylobate_auth.store.mongodb.failed_logins import MongoFailedLoginChanges
from stylobate_auth.store.mongodb.first_admin import MongoFirstAdminChanges
from stylobate_auth.store.mongodb.grants import MongoGrantChanges
from stylobate_auth.store.mongodb.mail import usable
from stylobate_auth.store.mongodb.refresh import MongoRefreshChanges, from_token
from stylobate_auth.store.mongodb.roles import CHANGES, MongoRoleChanges, from_held
from stylobate_auth.store.mongodb.service_accounts import MongoServiceAccountChanges
from stylobate_auth.store.mongodb.signing_keys import MongoSigningKeyChanges
from stylobate_auth.store.mongodb.users import MongoUserChanges

_STREAM = "user"


class MongoAuthTransaction(
    MongoApiKeyChanges,
    MongoFailedLoginChanges,
    MongoFirstAdminChanges,
    MongoGrantChanges,
    MongoRefreshChanges,
    MongoRoleChanges,
    MongoServiceAccountChanges,
    MongoSigningKeyChanges,
    MongoUserChanges,
):
    """The port's transaction on one of MongoDB's.

    A statement that meets another transaction waits for its end, and what was done before is done again. So what decides is done
    by one statement, or reads what is held.
    """

    def __init__(
        self,
        database: MongoManager,
        transaction: MongoTransaction,
        *,
        outbox: Outbox[MongoTransaction],
        audit: AuditTrail[MongoTransaction],
        ledger: IdempotencyLedger[MongoTransaction],
        sealing: AccountSealing,
    ) -> None:
        self.sealing = sealing
        self._database = database
        self._transaction = transaction
        self._outbox = outbox
        self._audit = audit
        self._ledger = ledger
        self._rotates = False
        self.changes_access = False
        self.emitted = False
        self.has_mail = False
        self.orphans: list[str] = []
        """Sessions that are gone, and whose spent tokens are still there: any number of them."""

    async def claim(self, claim: Claim | None) -> None:
        if claim is not None and not (await self._ledger.claim(self._transaction, [claim]))[0]:
            raise KeyTakenError

    async def answer(self, claim: Claim | None, result: object) -> None:
        if claim is not None:
            await self._ledger.answer(self._transaction, [(claim, result)])

    async def add_account(self, new: NewAccount) -> None:
        account, sealed = new.account, self.sealing.sealed
        email_key, *others = await self.sealing.indexes(account.tenant, new.email_key)
        known = {"tenant": account.tenant, "email_key": {"$in": others}}
        if others and await self._transaction.find_one("account", known, {"_id": 1}) is not None:
            raise EmailTakenError
        document = {
            "_id": account.id,
            "tenant": account.tenant,
            "email": await sealed(account.tenant, account.id, ADDRESS, account.email),
            "email_key": email_key,
            "display_name": await sealed(account.tenant, account.id, NAME, account.display_name),
            "email_verified": account.email_verified,
            "password_hash": new.password_hash,
            "must_verify": new.must_verify,
            "is_service": False,
            "created_at": micros(account.created_at),
            "roles": [from_held(HeldRole(role)) for role in account.roles],
        }
        try:
            await self._transaction.insert("account", [document])
        except DuplicateError:
            raise EmailTakenError from None

    async def hold_password_hash(self, tenant: str, account_id: str, old: str, new: str) -> bool:
        as_it_was = {"_id": account_id, "tenant": tenant, "password_hash": old, "disabled_at": None}
        change = {"$set": {"password_hash": new}, "$inc": {"locks": 1}}
        return (await self._transaction.update_one("account", as_it_was, change)).matched > 0

    async def account(self, tenant: str, account_id: str) -> Account | None:
        document = await self._transaction.find_one("account", {"_id": account_id, "tenant": tenant})
        return None if document is None else await account_of(document, self.sealing)

    async def remember_place(self, tenant: str, account_id: str, place: str, until: datetime) -> None:
        key = {"tenant": tenant, "account_id": account_id, "place": place}
        change = {"$max": {"expires_at": micros(until)}, "$setOnInsert": {"tenant": tenant, "account_id": account_id}}
        await self._transaction.update_one("login_place", {"_id": key}, change, upsert=True)

    async def open_session(self, session: Session, token: RefreshToken) -> None:
        document = {
            "_id": session.id,
            "tenant": session.tenant,
            "account_id": session.account_id,
            "opened_at": micros(session.opened_at),
        }
        await self._transaction.insert("session", [document | from_session(session) | from_token(token)])

    async def end_session(self, tenant: str, session_id: str, end: SessionEnd, at: datetime) -> Session | None:
        open_one = {"_id": session_id, "tenant": tenant, "ended_at": None}
        document = await self._transaction.find_and_update("session", open_one, _ended(end, at))
        return None if document is None else session_of(document)

    async def end_sessions(self, tenant: str, account_id: str, but: str, end: SessionEnd, at: datetime) -> list[Session]:
        whose = {"tenant": tenant, "account_id": account_id, "_id": {"$ne": but}}
        alive = {**whose, "ended_at": None, "expires_at": {"$gt": micros(at)}}
        # by their ids: a refresh that comes in between changes what else they have
        found = await self._transaction.find("session", alive, {"_id": 1}, sort=[("_id", 1)])
        if not found:
            return []
        these = {"_id": {"$in": [document["_id"] for document in found]}}
        await self._transaction.update_many("session", these, _ended(end, at))
        return [*map(session_of, await self._transaction.find("session", these, sort=[("_id", 1)]))]

    async def revoke(self, *revocations: Revocation) -> None:
        changes = []
        for entry in revocations:
            later = given(expires_at=micros(entry.expires_at), not_before=micros_or_none(entry.not_before))
            values = {name: {"$max": [f"${name}", value]} for name, value in later.items()}
            if entry.kind == RevocationKind.KEY_CHANGED:  # later than it is known to have, whatever the clocks say
                values["not_before"] = {"$max": [{"$add": ["$not_before", 1]}, later["not_before"]]}
            key = {"tenant": entry.tenant, "kind": int(entry.kind), "id": entry.id}
            changes.append(UpdateOne({"_id": key}, [{"$set": {**values, "changed_at": NOW}}], upsert=True))
        await self._transaction.bulk("revocation", changes)
        if changes:
            self._transaction.notify(CHANGES)

    async def replace_password_hash(self, tenant: str, account_id: str, new: str) -> None:
        await self._change(tenant, account_id, {"password_hash": new})

    async def hold_account(self, tenant: str, account_id: str) -> Account | None:
        document = await self._transaction.lock("account", {"_id": account_id, "tenant": tenant})
        return None if document is None else await account_of(document, self.sealing)

    async def rename(self, tenant: str, account_id: str, display_name: str) -> None:
        sealed = await self.sealing.sealed(tenant, account_id, NAME, display_name)
        await self._change(tenant, account_id, {"display_name": sealed})

    async def keep_new_email(self, tenant: str, account_id: str, email: str, email_key: str) -> None:
        sealed = await self.sealing.sealed(tenant, account_id, ADDRESS, email)
        index, *_ = await self.sealing.indexes(tenant, email_key)
        await self._change(tenant, account_id, {"new_email": sealed, "new_email_key": index})

    async def take_new_email(self, tenant: str, account_id: str, *, keeps_old: bool = True) -> None:
        document = await self._transaction.lock("account", {"_id": account_id, "tenant": tenant})
        if document is None or "new_email" not in document:
            raise EmailTakenError
        address = await self.sealing.opened(tenant, account_id, ADDRESS, document["new_email"])
        email_key, *others = await self.sealing.indexes(tenant, email_key_of(address) or address)
        known = {"tenant": tenant, "email_key": {"$in": others}, "_id": {"$ne": account_id}}
        if others and await self._transaction.find_one("account", known, {"_id": 1}) is not None:
            raise EmailTakenError
        change = {
            "$set": {
                "email": document["new_email"],
                "email_key": email_key,
                **({"old_email": document["email"]} if keeps_old else {}),
                "email_verified": True,
                "must_verify": False,
            },
            "$unset": {"new_email": "", "new_email_key": "", **({} if keeps_old else {"old_email": ""})},
        }
        try:
            await self._transaction.update_one("account", {"_id": account_id, "tenant": tenant}, change)
        except DuplicateError:
            raise EmailTakenError from None

    async def add_mail(self, mail: NewMail) -> None:
        document = {
            "_id": mail.id,
            "tenant": mail.tenant,
            "kind": mail.kind.value,
            "token_hash": mail.token_hash,
            "asked_at": micros(mail.asked_at),
            "expires_at": micros(mail.expires_at),
            "attempts": 0,
        }
        if mail.account_id is not None:
            document |= {"account_id": mail.account_id, "due_at": micros(mail.asked_at)}
        await self._transaction.insert("mail", [document])
        self.has_mail = True

    async def use_mail_token(
        self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime
    ) -> UsedMailToken | None:
        used = {"$set": {"used_at": micros(now)}}
        document = await self._transaction.find_and_update("mail", usable(tenant, token_hash, kinds, now), used)
        return None if document is None else UsedMailToken(document["account_id"], MailKind(document["kind"]))

    async def void_mail_tokens(self, tenant: str, account_id: str, kinds: Sequence[MailKind], now: datetime) -> None:
        unused = {"tenant": tenant, "account_id": account_id, "kind": {"$in": [kind.value for kind in kinds]}, "used_at": None}
        await self._transaction.update_many("mail", unused, {"$set": {"used_at": micros(now)}, "$unset": {"due_at": ""}})

    async def prove_email(self, tenant: str, account_id: str) -> None:
        await self._change(tenant, account_id, {"email_verified": True, "must_verify": False})

    async def emit(self, *events: Event) -> None:
        if events:
            await self._outbox.append(self._transaction, events, stream=_STREAM)
            self.emitted = True

    async def record(self, *records: AuditRecord) -> None:
        await self._audit.record(self._transaction, *records)

    async def _change(self, tenant: str, account_id: str, values: dict[str, object]) -> None:
        await self._transaction.update_one("account", {"_id": account_id, "tenant": tenant}, {"$set": values})


def _ended(end: SessionEnd, at: datetime) -> dict[str, object]:
    return {"$set": {"ended_at": micros(at), "end_reason": end.value}}
