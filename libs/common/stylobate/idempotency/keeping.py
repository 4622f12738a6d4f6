"""How a request is known again, and its answer kept, by who must not be able to read either."""

import hashlib
import hmac
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stylobate.encryption.box import open_box, seal_box

NO_SECRET = b""


class Keeping:
    """Hashes requests with a secret, and seals answers so that nobody reads one without both the secret and the request.

    :param secret: empty: hashes have no key, and answers are kept as they are.
    :param former: others that may have been it, while what they made is kept; :data:`NO_SECRET` where there was none.
    """

    def __init__(self, secret: bytes = NO_SECRET, *former: bytes) -> None:
        self._secrets = tuple(dict.fromkeys((secret, *former)))

    @classmethod
    def of(cls, secret: str, *former: str) -> "Keeping":
        """Return one with secrets out of texts that are for other things too; what was kept without any is known, too."""
        return cls(*map(secret_of, (secret, *former, "")))

    async def ready(self) -> "Keeping":
        """Return what holds now; one whose secret is kept elsewhere asks for it. Raises UnavailableError."""
        return self

    def requests(self, content: bytes) -> Sequence[bytes]:
        """Return the hashes that a request may be kept with, of 32 octets; the first one is that of now."""
        return [_digest(secret, b"request", content) for secret in self._secrets]

    def sealed(self, answer: bytes, content: bytes) -> bytes:
        """Return an answer to a request as it is to be kept."""
        return seal_box(_cipher(self._secrets[0], content), answer, b"") if self._secrets[0] else answer

    def opened(self, request: bytes, answer: bytes, content: bytes) -> bytes | None:
        """Return an answer that was kept with a request's hash; None: that was another request.

        :raises SealedInvalidError: the answer was changed.
        """
        for secret in self._secrets:
            if hmac.compare_digest(request, _digest(secret, b"request", content)):
                return open_box(_cipher(secret, content), answer, b"") if secret else answer
        return None


def secret_of(text: str) -> bytes:
    """Return a secret out of a text that is for other things too; none of an empty one."""
    return hashlib.sha256(b"idempotency\0" + text.encode()).digest() if text else NO_SECRET


def _cipher(secret: bytes, content: bytes) -> AESGCM:
    return AESGCM(_digest(secret, b"answer", content))


def _digest(secret: bytes, purpose: bytes, content: bytes) -> bytes:
    return hmac.digest(secret, purpose + b"\0" + content, hashlib.sha256)
