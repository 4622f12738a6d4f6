"""Refresh tokens in MongoDB: many in one transaction.

A session's document has its one token that nobody used yet, so exchanging it is a change of one document, which succeeds once.
Those that were spent stand in a collection of their own, by which the session is found.
"""

from collections.abc import Sequence
from datetime import timedelta
from itertools import repeat
from typing import Any

from stylobate.audit import AuditRecord, AuditTrail
from stylobate.database.mongodb import Document, MongoManager, MongoTransaction, from_micros, micros

from stylobate_auth.account_sealing import AccountSealing
from stylobate_auth.refresh_token import FoundRefresh, RefreshToken, Rotation
from stylobate_auth.store.mongodb.documents import NOW, account_as_far, from_session, session_of
from stylobate_auth.store.sessions import RefreshKey

_BYTES = 4096
"""More than a change of a session takes, or the note of a token."""
_WITH_ACCOUNT: list[dict[str, Any]] = [
    {"$lookup": {"from": "account", "localField": "account_id", "foreignField": "_id", "as": "account"}},
    {"$unwind": "$account"},
    {"$set": {"now": NOW}},
]


class _OvertakenError(Exception):
    """One of many was spent, or ended, by somebody else."""


class MongoRefreshTokens:
    """The port's part."""

    _database: MongoManager
    _audit: AuditTrail[MongoTransaction]
    sealing: AccountSealing

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        return await _find(self._database, keys, self.sealing)

    async def rotate(self, rotations: Sequence[tuple[Rotation, AuditRecord]]) -> list[bool]:
        try:
            return await self._rotated(rotations, looks=False)
        except _OvertakenError:
            return await self._rotated(rotations, looks=True)

    async def _rotated(self, rotations: Sequence[tuple[Rotation, AuditRecord]], *, looks: bool) -> list[bool]:
        """Rotate, as a whole again where others were at it. :param looks: whether any may be spent; else an error says so."""

        async def work(transaction: MongoTransaction) -> list[bool]:
            done = await _may(transaction, [one for one, _ in rotations]) if looks else [True] * len(rotations)
            fit = [both for both, is_done in zip(rotations, done, strict=True) if is_done]
            changes = [{"q": _unspent(one), "u": _change(one)} for one, _ in fit]
            if await transaction.write_each("session", "update", changes, repeat(_BYTES, len(fit))) < len(fit):
                raise _OvertakenError
            await _note_spent(transaction, [one for one, _ in fit])
            if fit:
                await self._audit.record(transaction, *(record for _, record in fit))
            return done

        return await self._database.transact(work)


class MongoRefreshChanges:
    """The transaction's part."""

    _database: MongoManager
    _transaction: MongoTransaction
    _rotates: bool
    sealing: AccountSealing

    async def refresh_tokens(self, keys: Sequence[RefreshKey]) -> list[FoundRefresh | None]:
        # what others have committed meanwhile is to be seen, which a transaction does not; but what it did itself is
        return await _find(self._transaction if self._rotates else self._database, keys, self.sealing)

    async def rotate_refresh(self, rotations: Sequence[Rotation]) -> list[bool]:
        in_order = sorted(rotations, key=lambda one: one.session.id)
        # each by one statement, which waits for who was first
        done = [one for one in in_order if (await self._transaction.update_one("session", _unspent(one), _change(one))).matched]
        await _note_spent(self._transaction, done)
        self._rotates = self._rotates or bool(done)
        return [one in done for one in rotations]


def from_token(token: RefreshToken) -> dict[str, Any]:
    """Return how a session has its token."""
    return {"token": token.hash, "token_issued_at": micros(token.issued_at), "token_ends_at": micros(token.expires_at)}


async def _may(transaction: MongoTransaction, rotations: Sequence[Rotation]) -> list[bool]:
    """Return which can be done. What is read holds, or the whole is done again."""
    found = await transaction.find("session", {"$or": [_unspent(one) for one in rotations]}, {"_id": 1})
    fit = {document["_id"] for document in found}
    return [one.session.id in fit for one in rotations]


def _unspent(one: Rotation) -> dict[str, Any]:
    """Return the filter of the session as it must be: alive, and with this token."""
    return {
        "_id": one.session.id,
        "tenant": one.session.tenant,
        "token": one.spent.hash,
        "ended_at": None,
        "expires_at": {"$gt": micros(one.next.issued_at)},
    }


def _change(one: Rotation) -> list[dict[str, Any]]:
    values = from_session(one.session) | from_token(one.next)
    values |= {"seen_at": micros(one.next.issued_at), "refresh_secret": one.secret}
    return [{"$set": {name: {"$literal": value} for name, value in values.items()} | {"token_issued_at": NOW}}]


async def _note_spent(transaction: MongoTransaction, rotations: Sequence[Rotation]) -> None:
    changes = list[Document]()
    for one in rotations:
        values = {
            "tenant": one.session.tenant,
            "session_id": one.session.id,
            "issued_at": micros(one.spent.issued_at),
            "expires_at": micros(one.spent.expires_at),
        }
        stored = {name: {"$literal": value} for name, value in values.items()} | {"used_at": NOW}
        changes.append({"q": {"_id": one.spent.hash}, "u": [{"$set": stored}], "upsert": True})
    await transaction.write_each("spent_token", "update", changes, repeat(_BYTES, len(changes)))


async def _find(
    database: MongoManager | MongoTransaction, keys: Sequence[RefreshKey], sealing: AccountSealing
) -> list[FoundRefresh | None]:
    hashes = [token_hash for _, token_hash in keys]
    documents = await database.aggregate("session", [{"$match": {"token": {"$in": hashes}}}, *_WITH_ACCOUNT])
    seen = {document["token"] for document in documents}
    # one that is spent between the two looks is found by the second
    if spent := [one for one in hashes if one not in seen]:
        documents += await _of_spent(database, await database.find("spent_token", {"_id": {"$in": spent}}))
    found = [await _found(document, sealing) for document in documents]
    by_key = {(one.session.tenant, one.token.hash): one for one in found}
    return [by_key.get(key) for key in keys]


async def _of_spent(database: MongoManager | MongoTransaction, tokens: Sequence[Document]) -> list[Document]:
    """Return the sessions of tokens, each with the token as ``spent``: a transaction may join nothing that is sharded."""
    if not tokens:
        return []
    asked = {"$match": {"_id": {"$in": [token["session_id"] for token in tokens]}}}
    sessions = {session["_id"]: session for session in await database.aggregate("session", [asked, *_WITH_ACCOUNT])}
    return [{**sessions[token["session_id"]], "spent": token} for token in tokens if token["session_id"] in sessions]


async def _found(document: Document, sealing: AccountSealing) -> FoundRefresh:
    spent = document.get("spent")
    if spent is None:
        token_hash, issued_at, ends_at = document["token"], document["token_issued_at"], document["token_ends_at"]
    else:
        token_hash, issued_at, ends_at = spent["_id"], spent["issued_at"], spent["expires_at"]
    return FoundRefresh(
        RefreshToken(token_hash, from_micros(issued_at), from_micros(ends_at)),
        session_of(document),
        await account_as_far(document["account"], sealing),
        document.get("refresh_secret", b""),
        timedelta(microseconds=document["now"] - issued_at),
        None if spent is None else timedelta(microseconds=document["now"] - spent["used_at"]),
    )
