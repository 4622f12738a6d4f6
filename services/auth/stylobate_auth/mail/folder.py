"""Mail into a folder of this machine: what development has in place of a server."""

import asyncio
from pathlib import Path

from stylobate.config import write_beside

from stylobate_auth.mail.message import message_of
from stylobate_auth.mail.port import Mail, MailDelayedError

_KEPT = 200


class FolderTransport:
    """The port into files ``<time>-<id>.eml``, readable by their owner only; the newest 200 are kept."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder = folder
        self._sender = sender

    async def send(self, mail: Mail) -> None:
        """See the port."""
        try:
            await asyncio.to_thread(self._write, mail)
        except OSError as error:
            raise MailDelayedError(f"{self._folder}: {error.strerror}") from error

    def _write(self, mail: Mail) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / f"{mail.asked_at:%Y%m%dT%H%M%S%f}-{mail.id}.eml"
        write_beside(path, bytes(message_of(mail, self._sender)), 0o600).replace(path)
        for old in sorted(self._folder.glob("*.eml"))[:-_KEPT]:
            old.unlink(missing_ok=True)
