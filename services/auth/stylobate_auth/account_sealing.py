"""Addresses and names of accounts at rest: sealed for their account; addresses are found by a blind index.

The blind index is an HMAC-SHA-256 of an address as addresses are compared, under a key of its own. It stands where the address
would: what is unique and what is found is the same, and who reads the table can neither read an address nor try one.
"""

import asyncio
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress

from stylobate.encryption import LOOK, DataKey, DataKeys, KeyNotOpenedError, SealedInvalidError, is_sealed
from stylobate.errors import UnavailableError
from stylobate.logs import get_logger
from stylobate.stopping import goes_on
from stylobate.telemetry import counter

from stylobate_auth.errors import AccountKeyUnavailableError, AccountUnreadableError

PURPOSE = "auth/accounts"
INDEX_PURPOSE = "auth/addresses"
ADDRESS, NAME = "address", "name"
"""What is sealed. All addresses of an account, the one to be and the former one too, are of one kind: they change places."""
_log = get_logger("app")


class AccountSealing:
    """Seals and opens what of people's accounts says who they are.

    :param keys: None: nothing is sealed, and nothing can be opened.
    :param seals: whether what is written is sealed; what is sealed is opened in any case.
    """

    def __init__(self, keys: DataKeys | None = None, *, seals: bool = True) -> None:
        self.keys = keys
        self.seals = seals and keys is not None
        self._index: DataKey | None = None
        self._unreadable = counter("auth_accounts_unreadable", "Sealed addresses and names that could not be opened.", ())

    async def sealed(self, tenant: str, account_id: str, what: str, text: str) -> str:
        """Return a text as it is to be stored. Raises AccountKeyUnavailableError."""
        if self.keys is None or not self.seals or not text:
            return text
        if (key := self.keys.at_hand(PURPOSE)) is None:
            key = await self._current(self.keys)
        return self.keys.seal(key, text.encode(), _about(tenant, account_id, what))

    async def keep(self) -> None:
        """Look for a newer key, forever: what seals is within a transaction, and must not wait for another connection."""
        while goes_on():
            await asyncio.sleep(LOOK.total_seconds() / 2)
            if self.keys is not None:
                with suppress(UnavailableError):
                    await self._current(self.keys)

    async def start(self) -> None:
        """Have the keys at hand. Raises UnavailableError, KeyNotOpenedError."""
        if self.keys is not None:
            await self.keys.current(PURPOSE)
            self._index = await self.keys.lasting(INDEX_PURPOSE)

    async def current_id(self) -> str:
        """Return the id of the key that seals now; empty where nothing is sealed."""
        if self.keys is None or not self.seals:
            return ""
        return (self.keys.at_hand(PURPOSE) or await self._current(self.keys)).id

    async def opened(self, tenant: str, account_id: str, what: str, stored: str) -> str:
        """Return what was stored. Raises AccountUnreadableError, UnavailableError."""
        if not is_sealed(stored):
            return stored  # from before, or a service account's
        try:
            if self.keys is None:
                raise SealedInvalidError("there is no key")
            return (await self.keys.open(stored, _about(tenant, account_id, what))).decode()
        except SealedInvalidError as error:
            self._unreadable.inc()
            _log.error("account_unreadable", account=account_id, what=what, error=str(error))
            raise AccountUnreadableError(account_id) from None

    async def indexes(self, tenant: str, email_key: str) -> Sequence[str]:
        """Return what may stand there for an address: first what is written now, then what was before."""
        if self.keys is None:
            return (email_key,)
        if self._index is None or not self.keys.uses(self._index):
            try:
                self._index = await self.keys.lasting(INDEX_PURPOSE)
            except KeyNotOpenedError:
                raise AccountKeyUnavailableError from None
        digest = hmac.digest(self._index.secret, f"{tenant}\0{email_key}".encode(), "sha256")
        blind = f"blind.1.{urlsafe_b64encode(digest).decode().rstrip('=')}"
        return (blind, email_key) if self.seals else (email_key, blind)

    async def _current(self, keys: DataKeys) -> DataKey:
        try:
            return await keys.current(PURPOSE)
        except KeyNotOpenedError:
            raise AccountKeyUnavailableError from None


NO_SEALING = AccountSealing()


def _about(tenant: str, account_id: str, what: str) -> bytes:
    return f"auth\0{tenant}\0{account_id}\0{what}".encode()
