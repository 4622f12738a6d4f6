"""Settings of the auth service."""

import os
import re
from datetime import timedelta
from email.utils import parseaddr
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from stylobate.config import secret
from stylobate.declarations import parse_rate_limit
from stylobate.value_kinds import LongSecret
from stylobate.vault import TransitSettings

from stylobate_auth.breached_passwords import BreachedPasswords
from stylobate_auth.mail.server import SmtpSecurity, SmtpServer
from stylobate_auth.session_lifetimes import SessionLifetimes

Registration = Literal["open", "closed", "verified"]


class AuthSettings(TransitSettings):
    """What the auth service can be told. Durations are written ``10m``, ``30d``."""

    service: ClassVar[str] = "auth"

    registration: Registration | None = None
    """Who may register: ``open`` (anyone, at once), ``verified`` (anyone, who gets in once a mail proved the address; needs
    mail) or ``closed`` (accounts are created by others). Unset: open in development, verified elsewhere."""
    signing_key: str = secret()
    """The first key that access tokens are signed with: an Ed25519 private key in PEM, or at least 32 characters of secret text
    that one is derived from (HKDF-SHA256, see jwt_manager.py). Later ones are made, and kept in the database."""
    key_encryption_key: LongSecret = secret(generate=False)
    """What signing keys are sealed with in the database: at least 32 characters of secret text. Empty: a key that is derived from
    `signing_key`."""
    key_encryption_key_before: LongSecret = secret(generate=False)
    """The one before it, while it is exchanged; what was sealed with that is sealed anew."""
    encryption_key: LongSecret = secret(required=False)
    """Encrypts the data keys in the database, and these encrypt people's email addresses and names. At least 32 characters of
    secret text, the same for every auth process. Empty: addresses and names are stored unencrypted."""
    encryption_key_before: LongSecret = secret(generate=False)
    """The one before it, while it is exchanged: what was sealed with that is sealed anew."""
    encrypt_accounts: bool = True
    """Whether addresses and names are sealed when they are written, where there is a key. `false` while some processes run a
    release that cannot read them, or have no key yet; what is sealed is read in any case."""
    signing_algorithm: Literal["EdDSA", "RS256"] = "EdDSA"
    """What new signing keys are for. Keys are exchanged when this changes."""
    signing_key_rotation: timedelta = Field(timedelta(days=90), ge=timedelta(0))
    """How long a signing key is used before the next one takes its place; `0s`: until `stylobate keys rotate`."""
    signing_key_notice: timedelta = Field(timedelta(minutes=10), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """How long the next key is published before it is used. Longer than the time for which verifiers elsewhere keep keys."""
    access_token_lifetime: timedelta = Field(timedelta(minutes=10), ge=timedelta(seconds=10), le=timedelta(hours=1))
    """How long an access token holds. The deny-list keeps a revocation for as long."""
    refresh_token_lifetime: timedelta = Field(timedelta(days=30), ge=timedelta(minutes=1))
    """How long a session lives without being refreshed; not longer than `session_lifetime`."""
    session_lifetime: timedelta = Field(timedelta(days=365), ge=timedelta(minutes=1))
    """How long a session lives, however often it is refreshed: then its user logs in again."""
    refresh_grace: timedelta = Field(timedelta(seconds=5), ge=timedelta(0), le=timedelta(minutes=1))
    """How long a refresh token that was used is answered with the same next one, for those who race or whose answer was lost.
    After that its use ends the session; `0s`: a second use always does."""
    argon2_memory_kib: int = Field(19 * 1024, ge=8, le=4 * 1024**2)
    """Memory of one password hash, at least 8 for each lane. With the other two the second profile of OWASP's list for
    Argon2id; a password is hashed anew at its next login when these change."""
    argon2_time_cost: int = Field(2, ge=1, le=100)
    """Passes over that memory."""
    argon2_parallelism: int = Field(1, ge=1, le=64)
    """Lanes of one hash; 1 leaves the cores to other logins."""
    hashing_threads: int = Field(0, ge=0, le=1024)
    """Passwords hashed at once; 0: as many as there are cores."""
    hashing_queue: int = Field(64, ge=0)
    """Passwords that may wait for a thread, of all addresses together: each gets its turn. Past it, or when its turn would
    come after its deadline, a caller is told AUTH_BUSY."""
    breached_passwords: str = ""
    """A file of passwords that are known from breaches, which nobody may take: a SHA-1 in hex a line, sorted, with or without
    `:count`, as the downloaders of Pwned Passwords write it. Empty: common passwords only are refused."""
    login_ip: str = "120/minute burst 60"
    """Limit `login.ip`: logins of one address (of IPv6: of a /64), charged before a password is hashed."""
    login_account: str = "10/minute burst 20"
    """Limit `login.account`: logins to one account from places that never logged in to it, of all together; and from each
    place that did, by itself. See docs/concepts/limits.md."""
    login_place_lifetime: timedelta = Field(timedelta(days=90), ge=timedelta(days=1))
    """How long an account remembers an address that logged in to it."""
    fresh_login: timedelta = Field(timedelta(minutes=15), ge=timedelta(seconds=10))
    """How long ago the login of a session may be that exports its own account."""
    register_ip: str = "30/minute burst 150"
    """Limit `register.ip`: registrations of one address, charged before a password is hashed."""
    mail_ip: str = "10/minute burst 30"
    """Limit `mail.ip`: what one address may ask that sends a mail, and uses of tokens of mails."""
    refresh_ip: str = "20/second burst 200"
    """Limit `refresh.ip`: refreshes of one address."""
    api_keys_per_account: int = Field(50, ge=1, le=10_000)
    """API keys that an account may have at a time."""
    smtp_host: str = ""
    """The mail server that sends everything. Empty: in development mail goes into `mail_folder`, elsewhere there is none, and
    what needs it is refused."""
    smtp_port: int = Field(0, ge=0, le=65535)
    """Its port; 0: 587, 465 where security is `tls`, 25 where it is `none`."""
    smtp_security: SmtpSecurity = "starttls"
    """`starttls`, `tls` (from the first byte), or `none`, for a relay on this machine or network that one trusts."""
    smtp_user: str = ""
    """Who logs in there; empty: nobody does."""
    smtp_password: str = secret(generate=False)
    """With which password."""
    smtp_authority: str = ""
    """File of the certificates that the server's own is held against; empty: those of the machine."""
    mail_from: str = ""
    """Who mail is from: `no-reply@example.com`, or `Example <no-reply@example.com>`."""
    mail_product: str = "Stylobate"
    """What mails call the product."""
    mail_folder: str = ".stylobate/mail"
    """Where mail goes in development when there is no server; `stylobate mail` shows it."""
    mail_templates: str = ""
    """A folder of Jinja2 templates that take the place of ours, `<kind>.txt` and `<kind>.html`. Empty: ours."""
    mail_timeout: timedelta = Field(timedelta(seconds=20), ge=timedelta(seconds=1), le=timedelta(minutes=5))
    """How long handing over one mail may take. One that was taken by a process that died is sent after twice as long."""
    mail_reset_link: str = ""
    """The product's page for another password, with `{token}` in it, such as `https://example.com/reset#{token}`. Empty: the mail
    holds the bare token."""
    mail_verify_link: str = ""
    """Likewise the page that proves an address: `https://example.com/verify#{token}`."""
    verify_token_lifetime: timedelta = Field(timedelta(days=1), ge=timedelta(hours=1), le=timedelta(days=30))
    """How long the token that proves an address works."""
    reset_token_lifetime: timedelta = Field(timedelta(hours=1), ge=timedelta(minutes=30), le=timedelta(days=1))
    """How long the token for another password works."""
    event_retention: timedelta = Field(timedelta(days=30), ge=timedelta(hours=1))
    """How long published events are kept for readers that were away."""

    @field_validator("breached_passwords")
    @classmethod
    def _is_a_file_of_hashes(cls, path: str) -> str:
        if path:
            BreachedPasswords(Path(path))
        return path

    @field_validator("login_ip", "login_account", "register_ip", "refresh_ip", "mail_ip")
    @classmethod
    def _is_a_limit(cls, text: str) -> str:
        parse_rate_limit(text, plain="gcra")
        return text

    @field_validator("mail_from")
    @classmethod
    def _is_an_address(cls, sender: str) -> str:
        if sender and (not sender.isprintable() or not re.fullmatch(r"[^@\s]+@[^@\s]+", parseaddr(sender)[1])):
            raise ValueError("must be an address, with or without a name before it: Example <no-reply@example.com>")
        return sender

    @field_validator("mail_reset_link", "mail_verify_link")
    @classmethod
    def _has_a_place_for_the_token(cls, link: str) -> str:
        if link and (link.count("{token}") != 1 or not link.startswith(("https://", "http://"))):
            raise ValueError("must be the address of a page with {token} in it")
        return link

    @field_validator("mail_templates")
    @classmethod
    def _can_be_filled_in(cls, folder: str) -> str:
        if folder:
            from stylobate_auth.mail.templates import MailTemplates  # noqa: PLC0415  a command that asks for settings sends no mail

            if not Path(folder).is_dir():
                raise ValueError(f"{folder}: there is no such folder")
            MailTemplates("", Path(folder))
        return folder

    @model_validator(mode="after")
    def _keys_rest(self) -> Self:
        if self.signing_key_rotation and self.signing_key_rotation < 2 * self.signing_key_notice:
            raise ValueError("STYLOBATE_AUTH_SIGNING_KEY_ROTATION must be 0s or at least twice STYLOBATE_AUTH_SIGNING_KEY_NOTICE")
        return self

    @model_validator(mode="after")
    def _can_send(self) -> Self:
        if self.smtp_host and not self.mail_from:
            raise ValueError("STYLOBATE_AUTH_SMTP_HOST needs STYLOBATE_AUTH_MAIL_FROM: who mail is from")
        if self.smtp_user and self.smtp_security == "none":
            raise ValueError(
                "STYLOBATE_AUTH_SMTP_SECURITY must not be `none` where SMTP_USER logs in: the password would be sent in the clear"
            )
        return self

    @model_validator(mode="after")
    def _can_register(self) -> Self:
        if self.registers == "verified" and not self.has_mail:
            default = "" if self.registration else ", the default outside development,"
            raise ValueError(
                f"STYLOBATE_AUTH_REGISTRATION=verified{default} needs mail: "
                "set STYLOBATE_AUTH_SMTP_HOST and STYLOBATE_AUTH_MAIL_FROM, or STYLOBATE_AUTH_REGISTRATION to `open` or `closed`"
            )
        return self

    @model_validator(mode="after")
    def _lifetimes_fit(self) -> Self:
        if self.refresh_token_lifetime > self.session_lifetime:
            raise ValueError("refresh_token_lifetime must not be longer than session_lifetime, when every session ends")
        if self.access_token_lifetime > self.refresh_token_lifetime:
            raise ValueError("access_token_lifetime must not be longer than refresh_token_lifetime")
        if self.refresh_grace >= self.access_token_lifetime:
            raise ValueError("refresh_grace must be shorter than access_token_lifetime")
        return self

    @model_validator(mode="after")
    def _has_memory_for_each_lane(self) -> Self:
        if self.argon2_memory_kib < 8 * self.argon2_parallelism:
            raise ValueError("argon2_memory_kib must be at least 8 for each lane of argon2_parallelism")
        return self

    @property
    def registers(self) -> Registration:
        """Who may register."""
        return self.registration or ("open" if self.is_development else "verified")

    @property
    def lifetimes(self) -> SessionLifetimes:
        """How long sessions hold."""
        return SessionLifetimes(self.refresh_token_lifetime, self.session_lifetime, self.refresh_grace)

    @property
    def key_encryption(self) -> tuple[str, list[str]]:
        """The secret that signing keys are sealed with, and those that they may have been sealed with."""
        return self.key_encryption_key or self.signing_key, [self.key_encryption_key_before, self.signing_key]

    @property
    def smtp(self) -> SmtpServer | None:
        """The server that mail goes to; None: there is none."""
        if not self.smtp_host:
            return None
        port = self.smtp_port or {"starttls": 587, "tls": 465, "none": 25}[self.smtp_security]
        return SmtpServer(self.smtp_host, port, self.smtp_security, self.smtp_user, self.smtp_password, self.smtp_authority)

    @property
    def has_mail(self) -> bool:
        """Whether there is a way for mail to leave."""
        return bool(self.smtp_host) or self.is_development

    @property
    def threads(self) -> int:
        """Passwords hashed at once."""
        if self.hashing_threads:
            return self.hashing_threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
