"""Encrypting accounts anew: with the newest key, and those that were stored in the clear."""

from collections.abc import Sequence
from dataclasses import dataclass

from stylobate.encryption import DataKeyStanding, SealedInvalidError, is_sealed, key_id_of
from stylobate.paging import no_token, page_position, page_token
from stylobate.stopping import check_cancelled

from stylobate_auth.account_input import email_key
from stylobate_auth.account_sealing import ADDRESS, NAME, PURPOSE, AccountSealing
from stylobate_auth.errors import AccountUnreadableError, EmailTakenError
from stylobate_auth.store.account_texts import AccountTexts, AccountTextStore

_AT_ONCE = 100
_ABOUT = ("reencrypt", "accounts")


@dataclass(frozen=True, slots=True)
class Step:
    """What one step came to."""

    looked: int
    reencrypted: int
    unreadable: Sequence[str]
    """Ids of those that stay as they are: they cannot be opened, or another account has the address."""
    next_place: str
    """Empty when there is nothing behind it."""


class AccountReencryptor:
    """Goes through all accounts. Logins go on meanwhile: they find an address in both forms."""

    def __init__(self, store: AccountTextStore, sealing: AccountSealing) -> None:
        self._store = store
        self._sealing = sealing

    async def standings(self) -> list[DataKeyStanding]:
        """Return how the keys stand."""
        return await self._sealing.keys.standings() if self._sealing.keys is not None else []

    async def begin(self) -> tuple[bool, int]:
        """Make another key, unless one is unfinished; return whether accounts are sealed, and how many keys were sealed anew."""
        keys = self._sealing.keys
        if keys is None or not self._sealing.seals:
            return False, 0
        resealed = await keys.reseal()
        await keys.begin_anew(PURPOSE)
        return True, resealed

    async def step(self, place: str) -> Step:
        """Do one step. Raises InvalidInputError for a place of something else."""
        tenant, mark, id_ = page_position(_ABOUT, place).partition("\n") if place else ("", "\n", "")
        if not mark:
            raise no_token()
        found = await self._store.account_texts((tenant, id_), _AT_ONCE)
        unreadable, count = [], 0
        for texts in found:
            check_cancelled()
            try:
                new = await self._anew(texts)
                count += new != texts and await self._store.replace_account_texts(texts, new)
            except (AccountUnreadableError, EmailTakenError, SealedInvalidError):
                unreadable.append(texts.id)
        if not found:
            if self._sealing.keys is not None:
                await self._sealing.keys.finish(PURPOSE)
            return Step(0, 0, (), "")
        last = found[-1]
        return Step(len(found), count, unreadable, page_token(_ABOUT, f"{last.tenant}\n{last.id}"))

    async def _anew(self, texts: AccountTexts) -> AccountTexts:
        """Return what is to stand there; what others change meanwhile is sealed with the newest key by them."""
        email = await self._sealing.opened(texts.tenant, texts.id, ADDRESS, texts.email)
        new_email = texts.new_email and await self._sealing.opened(texts.tenant, texts.id, ADDRESS, texts.new_email)
        return texts._replace(
            email=await self._text(texts, ADDRESS, texts.email),
            email_key=await self._index(texts.tenant, email),
            display_name=await self._text(texts, NAME, texts.display_name),
            new_email=texts.new_email and await self._text(texts, ADDRESS, texts.new_email),
            new_email_key=new_email and await self._index(texts.tenant, new_email),
            old_email=texts.old_email and await self._text(texts, ADDRESS, texts.old_email),
        )

    async def _text(self, texts: AccountTexts, what: str, stored: str) -> str:
        current = await self._sealing.current_id()
        if not stored or (is_sealed(stored) and key_id_of(stored) == current):
            return stored
        opened = await self._sealing.opened(texts.tenant, texts.id, what, stored)
        return await self._sealing.sealed(texts.tenant, texts.id, what, opened)

    async def _index(self, tenant: str, email: str) -> str:
        return (await self._sealing.indexes(tenant, email_key(email) or email))[0]
