"""Mails in MongoDB: what is due, and what becomes of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stylobate.database.mongodb import Document, MongoManager, from_micros, micros

from stylobate_auth.account_sealing import ADDRESS, NAME, AccountSealing
from stylobate_auth.errors import AccountUnreadableError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.model import DueMail
from stylobate_auth.store.mongodb.work import take_due

# The address is the one that the account has by now: a mail never goes to one that it gave up, unless it is about that.
_ADDRESS_OF = {MailKind.CHANGE_EMAIL: "new_email", MailKind.EMAIL_CHANGED: "old_email"}
_ADDRESSES = {"display_name": 1, "email": 1, "new_email": 1, "old_email": 1}


class MongoMailQueue:
    """The port on the service's own database."""

    def __init__(self, database: MongoManager, sealing: AccountSealing) -> None:
        self._database = database
        self._sealing = sealing

    async def take(self, now: datetime, until: datetime, most: int) -> list[DueMail]:
        change = {"$set": {"due_at": micros(until)}, "$inc": {"attempts": 1}}
        taken = await take_due(self._database, "mail", now, change, most)
        ids = [document["account_id"] for document in taken]
        found = await self._database.find("account", {"_id": {"$in": ids}}, _ADDRESSES) if taken else []
        accounts = {document["_id"]: document for document in found}
        in_order = sorted(taken, key=lambda document: document["asked_at"])
        return [await self._due(document, accounts.get(document["account_id"], {})) for document in in_order]

    async def _due(self, document: Document, account: Document) -> DueMail:
        tenant, account_id, kind = document["tenant"], document["account_id"], MailKind(document["kind"])
        return DueMail(
            tenant=tenant,
            id=document["_id"],
            account_id=account_id,
            kind=kind,
            address=await self._opened(tenant, account_id, ADDRESS, account.get(_ADDRESS_OF.get(kind, "email"), "")),
            name=await self._opened(tenant, account_id, NAME, account.get("display_name", "")),
            asked_at=from_micros(document["asked_at"]),
            expires_at=from_micros(document["expires_at"]),
            attempts=document["attempts"],
        )

    async def _opened(self, tenant: str, account_id: str, what: str, stored: str) -> str:
        """Return what is stored; empty where it cannot be read: such a mail goes nowhere, and the others go."""
        try:
            return await self._sealing.opened(tenant, account_id, what, stored)
        except AccountUnreadableError:
            return ""

    async def done(self, mail: DueMail) -> None:
        await self._database.update_one("mail", {"_id": mail.id, "tenant": mail.tenant}, {"$unset": {"due_at": ""}})
        if mail.kind is MailKind.EMAIL_CHANGED:
            whose = {"_id": mail.account_id, "tenant": mail.tenant}
            await self._database.update_one("account", whose, {"$unset": {"old_email": ""}})

    async def delay(self, mail: DueMail, until: datetime) -> None:
        waiting = {"_id": mail.id, "tenant": mail.tenant, "due_at": {"$exists": True}}
        await self._database.update_one("mail", waiting, {"$set": {"due_at": micros(until)}})

    async def holder(self, tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime) -> str | None:
        document = await self._database.find_one("mail", usable(tenant, token_hash, kinds, now), {"account_id": 1})
        return None if document is None else document["account_id"]


def usable(tenant: str, token_hash: bytes, kinds: Sequence[MailKind], now: datetime) -> dict[str, Any]:
    """Return the filter of a mail whose token may be used."""
    return {
        "tenant": tenant,
        "token_hash": token_hash,
        "kind": {"$in": [kind.value for kind in kinds]},
        "used_at": None,
        "expires_at": {"$gt": micros(now)},
        "account_id": {"$exists": True},
    }
