"""Puts the mail of the auth service together: what is written, and what sends it."""

import asyncio
import hashlib
from datetime import UTC, datetime
from pathlib import Path

from stylobate.app.manager import AppManager

from stylobate_auth.mail.folder import FolderTransport
from stylobate_auth.mail.kinds import MailKind
from stylobate_auth.mail.outgoing import OutgoingMail
from stylobate_auth.mail.port import MailTransport
from stylobate_auth.mail.sender import MailSender
from stylobate_auth.mail.templates import MailTemplates
from stylobate_auth.mail.tokens import MailTokens
from stylobate_auth.settings import AuthSettings
from stylobate_auth.store.port import AuthStore


def open_mail(app: AppManager, settings: AuthSettings, store: AuthStore, *, due: asyncio.Event) -> OutgoingMail:
    """Return what writes mails, and have them sent: to the server, in development without one into a folder.

    :param due: set when mails were committed.
    """
    tokens = MailTokens(hashlib.sha256(b"mail\0" + settings.signing_key.encode()).digest())
    if settings.has_mail:
        sender = MailSender(
            store,
            _transport(app, settings),
            MailTemplates(settings.mail_product, Path(settings.mail_templates) if settings.mail_templates else None),
            tokens,
            links={
                MailKind.RESET_PASSWORD: settings.mail_reset_link,
                MailKind.VERIFY_EMAIL: settings.mail_verify_link,
                MailKind.CHANGE_EMAIL: settings.mail_verify_link,
            },
            timeout=settings.mail_timeout,
            due=due,
            clock=_now,
        )
        app.task("mail", sender.run)
        app.check("mail", sender.health)
    return OutgoingMail(
        tokens,
        is_on=settings.has_mail,
        lifetimes={
            MailKind.RESET_PASSWORD: settings.reset_token_lifetime,
            MailKind.VERIFY_EMAIL: settings.verify_token_lifetime,
            MailKind.CHANGE_EMAIL: settings.verify_token_lifetime,
        },
        clock=_now,
    )


def _transport(app: AppManager, settings: AuthSettings) -> MailTransport:
    sender = settings.mail_from or "no-reply@localhost"
    if settings.smtp is None:
        return FolderTransport(Path(settings.mail_folder), sender)
    from stylobate_auth.mail.smtp import SmtpTransport  # noqa: PLC0415  with its library, for whoever has a server

    transport = SmtpTransport(settings.smtp, sender, settings.mail_timeout)

    async def take(fresh: AuthSettings) -> None:
        transport.use(fresh.smtp_user, fresh.smtp_password)

    app.follow("smtp_user", "smtp_password", take=take)
    return transport


def _now() -> datetime:
    return datetime.now(UTC)
