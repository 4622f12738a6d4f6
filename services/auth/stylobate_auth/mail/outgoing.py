"""Mails of a deployment: which it can send, and for how long their tokens hold."""

from collections.abc import Callable
from datetime import datetime, timedelta

from stylobate.ids import new_id

from stylobate_auth.errors import NoMailError
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.mail.tokens import MailTokens
from stylobate_auth.model import NewMail
from stylobate_auth.store.port import AuthTransaction

_NOTICE = timedelta(days=2)
"""How long it is tried to send what has no token."""


class OutgoingMail:
    """Writes mails in the transactions of what causes them.

    :param is_on: whether there is a way for mail to leave. :param lifetimes: of tokens, by kind.
    """

    def __init__(
        self,
        tokens: MailTokens,
        *,
        is_on: bool,
        lifetimes: dict[MailKind, timedelta],
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = new_id,
    ) -> None:
        self.is_on = is_on
        self._tokens = tokens
        self._lifetimes = lifetimes
        self._clock = clock
        self._new_id = new_id

    def demand(self) -> None:
        """Return where there is mail. Raises NoMailError."""
        if not self.is_on:
            raise NoMailError

    async def write(self, transaction: AuthTransaction, tenant: str, kind: MailKind, account_id: str | None) -> None:
        """Write a mail; nothing happens where mail is not set up.

        :param account_id: None: nobody is written to, and it costs the same.
        """
        if not self.is_on:
            return
        now, mail_id = self._clock(), self._new_id()
        token_hash = MailTokens.hash(self._tokens.token(tenant, mail_id, kind))
        lifetime = self._lifetimes.get(kind, _NOTICE)
        await transaction.add_mail(NewMail(tenant, mail_id, kind, account_id, token_hash, now, now + lifetime))
