"""What a mail holds so that its reader can prove to have read it."""

import base64
import hashlib
import hmac
from uuid import UUID

from stylobate_auth.mail.kinds import MailKind


class MailTokens:
    """Derives the token of a mail from its id: sent again after a crash, it holds the same one, which stands nowhere.

    Kept is its SHA-256 only; who reads the database cannot make the token without the key.

    :param key: secret; the same in all processes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def token(self, tenant: str, mail_id: str, kind: MailKind) -> str:
        """Return the token of a mail: 43 characters that a URL can hold."""
        content = b"\0".join((tenant.encode(), UUID(mail_id).bytes, kind.value.encode()))
        return base64.urlsafe_b64encode(hmac.digest(self._key, content, "sha256")).rstrip(b"=").decode()

    @staticmethod
    def hash(token: str) -> bytes:
        """Return what is kept of a token."""
        return hashlib.sha256(token.encode()).digest()
