"""Accounts as they are stored in MongoDB, for encrypting them anew."""

from collections.abc import Sequence

from stylobate.database.mongodb import Document, DuplicateError, MongoManager

from stylobate_auth.errors import EmailTakenError
from stylobate_auth.store.account_texts import AccountTexts
from stylobate_auth.store.mongodb.documents import OF_PERSON

_MEMBERS = AccountTexts._fields[2:]


class MongoAccountTexts:
    """The part of the store."""

    _database: MongoManager

    async def account_texts(self, after: tuple[str, str], most: int) -> Sequence[AccountTexts]:
        tenant, id_ = after
        behind = {"$or": [{"tenant": {"$gt": tenant}}, {"tenant": tenant, "_id": {"$gt": id_}}], **OF_PERSON}
        documents = await self._database.find("account", behind, sort=[("tenant", 1), ("_id", 1)], limit=most)
        return [*map(_texts_of, documents)]

    async def replace_account_texts(self, old: AccountTexts, new: AccountTexts) -> bool:
        values = new._asdict()
        change = {
            "$set": {name: values[name] for name in _MEMBERS if values[name] is not None},
            "$unset": {name: "" for name in _MEMBERS if values[name] is None},
        }
        as_it_was = {"_id": new.id, **{name: value for name, value in old._asdict().items() if name != "id"}}
        try:
            done = await self._database.update_one("account", as_it_was, {name: value for name, value in change.items() if value})
        except DuplicateError:
            raise EmailTakenError from None
        return done.matched > 0


def _texts_of(document: Document) -> AccountTexts:
    return AccountTexts._make([document["tenant"], document["_id"], *(document.get(name) for name in _MEMBERS)])
