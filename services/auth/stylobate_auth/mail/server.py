"""The server that mail is handed over to."""

from dataclasses import dataclass, field
from typing import Literal

SmtpSecurity = Literal["starttls", "tls", "none"]


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """The mail server that everything is sent through."""

    host: str
    port: int
    security: SmtpSecurity
    user: str = ""
    password: str = field(default="", repr=False)
    authority: str = ""
    """File of the certificates that its own is held against; empty: those of the machine."""
