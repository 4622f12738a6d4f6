"""Mail over SMTP."""

import ssl
from dataclasses import replace
from datetime import timedelta
from email.utils import parseaddr

import aiosmtplib

from stylobate_auth.mail.message import message_of
from stylobate_auth.mail.port import Mail, MailDelayedError, MailRefusedError
from stylobate_auth.mail.server import SmtpServer

_FOR_GOOD = 500
_ABOUT_US = frozenset({530, 534, 535, 538})
"""Replies about who sends: the mail is as good as before, the settings are not."""


class SmtpTransport:
    """The port over SMTP (RFC 5321), a connection for each mail.

    :param sender: who it is from. :param timeout: for the whole of it.
    """

    def __init__(self, server: SmtpServer, sender: str, timeout: timedelta) -> None:
        self._server = server
        self._sender = sender
        self._timeout_s = timeout.total_seconds()
        self._tls = None if server.security == "none" else ssl.create_default_context(cafile=server.authority or None)

    def use(self, user: str, password: str) -> None:
        """Log in as another, or with another password, from the next mail on."""
        self._server = replace(self._server, user=user, password=password)

    async def send(self, mail: Mail) -> None:
        """See the port."""
        server = self._server
        try:
            await aiosmtplib.send(
                message_of(mail, self._sender),
                sender=parseaddr(self._sender)[1],
                recipients=[mail.to],
                hostname=server.host,
                port=server.port,
                username=server.user or None,
                password=server.password or None,
                timeout=self._timeout_s,
                use_tls=server.security == "tls",
                start_tls=server.security == "starttls",
                tls_context=self._tls,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _fault(max(refused.code for refused in error.recipients)) from None  # its text holds the address
        except aiosmtplib.SMTPResponseException as error:
            raise _fault(error.code) from None
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise MailDelayedError(f"{server.host}:{server.port}: {type(error).__name__}") from None


def _fault(code: int) -> Exception:
    if code >= _FOR_GOOD and code not in _ABOUT_US:
        return MailRefusedError(f"the server refused it with {code}")
    return MailDelayedError(f"the server answered {code}")
