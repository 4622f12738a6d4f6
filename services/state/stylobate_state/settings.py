"""Settings of the state service."""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator
from stylobate.config import secret
from stylobate.value_kinds import DatabaseUrl, LongSecret, is_mongodb
from stylobate.vault import TransitSettings

_ROLE = re.compile(r"[A-Za-z0-9_.-]+")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
PLACES = "STYLOBATE_STATE_PLACES"
DATABASES = "STYLOBATE_STATE_DATABASES"
MAIN = "main"
"""What messages call the database of `STYLOBATE_DATABASE_URL`."""


class StateSettings(TransitSettings):
    """``STYLOBATE_STATE_<FIELD>``."""

    service = "state"
    logins: ClassVar[Mapping[str, str]] = {"databases": "vault_database_roles"}

    max_data_bytes: int = Field(default=262_144, ge=2)
    """The longest data of an object, as JSON text: an object, not a file."""
    hook_timeout: timedelta = Field(default=timedelta(milliseconds=200), gt=timedelta(0))
    """How long a before-hook may take."""
    upgrade_timeout: timedelta = Field(default=timedelta(seconds=2), gt=timedelta(0))
    """How long a read waits for the upgrade of data of an older schema version."""
    history_grace: timedelta = Field(default=timedelta(days=7), ge=timedelta(0))
    """How long versions beyond a namespace's ``history`` keep their data all the same: hooks and watches that come back within
    this time miss nothing."""
    cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """What the copies of objects may take in one process, in bytes, for reads with ``consistency=cached``; 0: none are kept."""
    watches: int = Field(default=4096, ge=1)
    """Watches that may be open in one process: 503 ``STATE_WATCHES_FULL`` beyond it."""
    watches_per_caller: int = Field(default=64, ge=1)
    """Of them by one user, or by one address where nobody is known: 429 ``STATE_TOO_MANY_WATCHES`` beyond it."""
    watch_quiet: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How long a watch goes without a sign of life."""
    databases: Mapping[str, DatabaseUrl] = {}
    """Databases beside `STYLOBATE_DATABASE_URL`, for namespaces that stand apart: `archive=postgresql://…` or
    `archive=mongodb://…`, several with white space between. One in which no namespace stands is there to be moved to."""
    places: Mapping[str, str] = {}
    """The namespaces that stand in one of them: `orders=archive payments=archive`. All others stand in
    `STYLOBATE_DATABASE_URL`."""

    vault_database_roles: Mapping[str, str] = {}
    """Roles of Vault's engine for databases, for some of them: `archive=stylobate-archive`. Vault makes the user there for each
    process, and user and password in the URL are not used."""

    encryption_key: LongSecret = secret(required=False)
    """Encrypts the data keys in the database, and these encrypt the fields that namespaces name as `encrypted_fields`. At least
    32 characters of secret text, the same for every state process. Empty: the service starts only if no namespace names any."""
    encryption_key_before: LongSecret = secret(generate=False)
    """The one before it, while it is exchanged: what was sealed with that is sealed anew."""

    @field_validator("databases")
    @classmethod
    def _has_names(cls, databases: Mapping[str, str]) -> Mapping[str, str]:
        for name, url in databases.items():
            if _NAME.fullmatch(name) is None or name == MAIN:
                raise ValueError(
                    f"{name[:80]!r} is not a name for a database: lower case letters, digits and _, and not `{MAIN}`"
                )
            if not url:
                raise ValueError(f"{name} has no URL")
        return databases

    @field_validator("vault_database_roles")
    @classmethod
    def _are_of_postgresql(cls, roles: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        known: Mapping[str, str] | None = info.data.get("databases")
        for name, role in roles.items():
            if _ROLE.fullmatch(role) is None:
                raise ValueError(f"{name}: {role[:80]!r} is not a role of Vault's engine for databases")
            if known is not None and name not in known:
                raise ValueError(f"{DATABASES} names no {name} (known: {', '.join(known) or 'none'})")
            if known is not None and is_mongodb(known[name]):
                raise ValueError(f"{name}: users that Vault makes are for PostgreSQL, not for MongoDB yet")
        return roles

    @field_validator("places")
    @classmethod
    def _knows_databases(cls, places: Mapping[str, str], info: ValidationInfo) -> Mapping[str, str]:
        known = info.data.get("databases")
        for namespace, database in places.items():
            if known is not None and database not in known:
                raise ValueError(f"{namespace}={database}: {DATABASES} names no {database} (known: {', '.join(known) or 'none'})")
        return places
