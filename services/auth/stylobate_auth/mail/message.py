"""A mail as RFC 5322 writes it."""

from email.message import EmailMessage
from email.utils import format_datetime, parseaddr

from stylobate_auth.mail.port import Mail


def message_of(mail: Mail, sender: str) -> EmailMessage:
    """Return the message, plain text with HTML beside it. Every try has the same ``Message-ID``: who gets two drops one.

    :param sender: an address, with or without a name.
    """
    from email.policy import SMTP  # noqa: PLC0415  1 MB for headers, for whoever writes a mail

    message = EmailMessage(policy=SMTP)
    message["From"] = sender
    message["To"] = mail.to
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.asked_at)
    message["Message-ID"] = f"<{mail.id}@{parseaddr(sender)[1].rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday notice comes back
    message.set_content(mail.text)
    message.add_alternative(mail.html, subtype="html")
    return message
