"""The mails there are."""

from enum import StrEnum


class MailKind(StrEnum):
    """What a mail is for; the name of its templates."""

    RESET_PASSWORD = "reset_password"  # noqa: S105  a name
    """Somebody forgot the password: a token to choose another."""
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  a name
    """The password was replaced: whoever did not do it should know."""
    VERIFY_EMAIL = "verify_email"
    """A token that proves the account's address."""
    ALREADY_REGISTERED = "already_registered"
    """Somebody registered with, or moved an account to, an address that has an account."""
    CHANGE_EMAIL = "change_email"
    """A token that proves the address that the account is to have."""
    EMAIL_CHANGED = "email_changed"
    """The account has another address: to the one it had."""


WITH_TOKEN = (MailKind.RESET_PASSWORD, MailKind.VERIFY_EMAIL, MailKind.CHANGE_EMAIL)
"""Those whose reader can do something with it."""
