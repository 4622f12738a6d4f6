"""The port that mail leaves by."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it is sent. The same id is the same mail, also when it is sent again."""

    id: str
    to: str = field(repr=False)
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    asked_at: datetime
    """Its ``Date``: the same in every try."""


class MailDelayedError(Exception):
    """It could not be handed over now; it may be later. Its text names no address."""


class MailRefusedError(Exception):
    """It will never be taken. Its text names no address."""


class MailTransport(Protocol):
    """Hands mails over to what delivers them."""

    async def send(self, mail: Mail) -> None:
        """Return when it is handed over for good. Raises MailDelayedError, MailRefusedError."""
