"""Settings of the auth service."""

import os
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from stylobate.config import Settings, secret
from stylobate.declarations import parse_rate_limit

from stylobate_auth.breached_passwords import BreachedPasswords

Registration = Literal["open", "closed", "verified"]


class AuthSettings(Settings):
    """What the auth service can be told. Durations are written ``10m``, ``30d``."""

    service: ClassVar[str] = "auth"

    registration: Registration | None = None
    """Who may register: ``open`` (anyone) or ``closed`` (accounts are created by others). Unset: open in development,
    closed elsewhere. ``verified`` needs mail, which is not there yet."""
    signing_key: str = secret()
    """What access tokens are signed with: an Ed25519 private key in PEM, or at least 32 characters of secret text that
    one is derived from (HKDF-SHA256, see jwt_manager.py)."""
    access_token_lifetime: timedelta = Field(timedelta(minutes=10), ge=timedelta(seconds=10), le=timedelta(hours=1))
    """How long an access token holds. The deny-list keeps a revocation for as long."""
    refresh_token_lifetime: timedelta = Field(timedelta(days=30), ge=timedelta(minutes=1))
    """How long a session lives without being refreshed."""
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
    register_ip: str = "30/minute burst 150"
    """Limit `register.ip`: registrations of one address, charged before a password is hashed."""
    refresh_ip: str = "20/second burst 200"
    """Limit `refresh.ip`: refreshes of one address."""
    api_keys_per_account: int = Field(50, ge=1, le=10_000)
    """API keys that an account may have at a time."""
    event_retention: timedelta = Field(timedelta(days=30), ge=timedelta(hours=1))
    """How long published events are kept for readers that were away."""

    @field_validator("registration")
    @classmethod
    def _can_be_carried_out(cls, value: Registration | None) -> Registration | None:
        if value == "verified":
            raise ValueError("'verified' sends mail, which this version cannot; use 'open' or 'closed'")
        return value

    @field_validator("breached_passwords")
    @classmethod
    def _is_a_file_of_hashes(cls, path: str) -> str:
        if path:
            BreachedPasswords(Path(path))
        return path

    @field_validator("login_ip", "login_account", "register_ip", "refresh_ip")
    @classmethod
    def _is_a_limit(cls, text: str) -> str:
        parse_rate_limit(text, plain="gcra")
        return text

    @model_validator(mode="after")
    def _has_memory_for_each_lane(self) -> Self:
        if self.argon2_memory_kib < 8 * self.argon2_parallelism:
            raise ValueError("argon2_memory_kib must be at least 8 for each lane of argon2_parallelism")
        return self

    @property
    def is_registration_open(self) -> bool:
        """Whether anyone may register."""
        return self.registration == "open" or (self.registration is None and self.is_development)

    @property
    def threads(self) -> int:
        """Passwords hashed at once."""
        if self.hashing_threads:
            return self.hashing_threads
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
