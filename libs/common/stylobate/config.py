"""Settings: one frozen class per service, resolved field by field, every value with its origin.

A setting resolves: mounted file -> a store handed in (Vault) -> environment -> default. A secret resolves: that
store -> mounted file -> environment -> in development a generated one kept under ``.stylobate/secrets/``; elsewhere a
missing one stops the start with everything that is missing and every place that was looked at.
"""

import os
import re
import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from stylobate.validation import said
from stylobate.value_kinds import DatabaseUrl, HttpUrl, PostgresUrl, RedisUrl, check_sane, is_mongodb

MASK = "********"
_FILE_FOLDERS = (Path("/run/secrets"), Path("/app/secrets"), Path("secrets"))
_LISTS = (list, tuple, set, frozenset)
_PAIR = re.compile(r"([^\s=]+)=(\S+)")
_IN_QUERY = re.compile(r"(?<=[?&]sentinel_password=)[^&]*")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_LONGEST = timedelta(days=3650)
SHARED = "shared"
"""Where a store keeps what is not one service's own."""
_OF_THE_STORE = "vault_"
"""Settings that say where the store is."""
_WITH_LOGIN = {"database_url", "database_replica_url"}
"""Servers for which a store may make users."""


class Environment(StrEnum):
    """Where this process runs; decides defaults that are convenient in development only."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a value came from."""

    name: str
    value: str
    """As text; a secret is masked."""
    origin: str
    """``default``, ``environment STYLOBATE_…``, ``file …``, ``generated …``."""


class ConfigError(Exception):
    """Settings that cannot be used: one finding a line, each with the names that would set it."""

    def __init__(self, findings: list[str]) -> None:
        self.findings = findings
        super().__init__("\n".join(findings))


class SettingStore(Protocol):
    """A server that keeps settings and secrets."""

    @property
    def problem(self) -> str:
        """Why it cannot be asked at the moment, one line; empty: it can, or was not asked yet."""

    def place(self, path: str, name: str) -> str:
        """Return where a value stands, for people."""

    def find(self, path: str, name: str) -> str | None:
        """Return a value, None where there is none or the store cannot be asked. Raises ConfigError for a list or the like."""

    def requires(self, name: str) -> bool:
        """Return whether a value may come from this store alone."""

    def with_login(self, url: str, role: str = "", setting: str = "") -> tuple[str, str] | None:
        """Return the URL of a database with a user that this store has made, and where it is from; None: it makes none.

        :param role: by which it makes the user; empty: the one for all databases that no setting names one for.
        :param setting: that names the role.
        :raises ConfigError: it should make one, and cannot.
        """


@dataclass(frozen=True, slots=True)
class Sources:
    """Where values may come from; the test's way to hand in others."""

    environ: Mapping[str, str]
    folders: tuple[Path, ...] = _FILE_FOLDERS
    generated: Path | None = None
    """Folder for generated secrets (0700); None outside development."""
    store: SettingStore | None = None

    @classmethod
    def of_process(cls, data: Path | None = None) -> "Sources":
        """Return the sources of this process; ``data`` is the `.stylobate` folder."""
        return cls(environ=os.environ, generated=data / "secrets" if data is not None else None)


def secret(**kwargs: Any) -> Any:
    """Declare a field that is a secret: masked in every output, never a default outside development.

    ``generate=False`` for one that cannot be made up (it must match something outside); ``required=False`` for one that may be
    missing outside development.
    """
    generate, required = kwargs.pop("generate", True), kwargs.pop("required", True)
    return Field("", json_schema_extra={"secret": True, "generate": generate, "required": required}, repr=False, **kwargs)


class Settings(BaseModel):
    """Base of a service's settings. Subclass, set :attr:`service`, give every field a default that works.

    Fields of this base are shared: ``STYLOBATE_DATABASE_URL`` holds for every service, ``STYLOBATE_STATE_DATABASE_URL``
    for one. A duration is written ``500ms``, ``10s``, ``15m``, ``2h`` or ``30d``; a list with commas; a mapping as ``name=value``
    with white space between. A class without a service (the process's own settings) has no second name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    service: ClassVar[str] = ""
    logins: ClassVar[Mapping[str, str]] = {}
    """Fields with URLs of databases by their names, each with the field that names the roles a store makes users there with."""

    environment: Environment = Environment.DEVELOPMENT
    """development, staging or production."""
    modules: str = "modules"
    """Folders of modules, separated by the path separator; packages as ``package:name``."""
    database_url: DatabaseUrl = "postgresql://stylobate@localhost/stylobate"
    """PostgreSQL; or MongoDB, ``mongodb://host1,host2/stylobate?replicaSet=rs0``, where each service has a database of its own,
    ``stylobate_auth``. Several hosts as ``host1,host2``."""
    database_replica_url: PostgresUrl = ""
    """A replica of it, for lists of state objects that may be a moment old. Empty: none."""
    database_roles: bool = True
    """Whether each service takes its own role after connecting (SET ROLE) and migrations create it."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    """Connections a service and process may open."""
    database_pooler: bool = False
    """Whether a connection pooler such as PgBouncer, in session mode, stands before the server: nothing is asked of it that it
    does not pass on (startup parameters, prepared statements that are kept)."""
    database_statement_timeout: timedelta = Field(default=timedelta(seconds=4), gt=timedelta(0))
    """How long a statement may take; callers wait for 5 s, and are told before. Kept by the server."""
    database_lock_timeout: timedelta = Field(default=timedelta(seconds=3), gt=timedelta(0))
    """How long a statement may wait for a lock."""
    database_idle_transaction_timeout: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How long a transaction may rest between two statements."""
    audit_retention: timedelta = Field(default=timedelta(0))
    """How old audit records get before they are deleted, at least ``1d``; 0: they are kept. The rest is verified all the same."""
    redis_url: RedisUrl = "redis://localhost:6379/0"
    """Valkey or Redis; ``unix://`` and ``rediss://`` too; several hosts separated by commas. ``redis+cluster://host1,host2`` is a
    Cluster, by some of its nodes, ``redis+sentinel://host1,host2/name`` a master, by its Sentinels; with ``rediss`` over TLS."""
    public_url: HttpUrl = ""
    """Where clients reach the platform, without a slash at its end: `https://api.example.com`. It is the `iss` of tokens.
    When it is empty, `iss` is `stylobate` and OAuth 2.0 has no metadata. `stylobate up` sets it in development."""
    identity_private_key: str = ""
    """File of this service's Ed25519 private key (PEM); empty: ``<identity_folder>/<service>.pem``."""
    identity_folder: str = ".stylobate/identity"
    """Folder with the public keys of all services as ``<service>.pub.pem``."""

    @field_validator("audit_retention")
    @classmethod
    def _is_a_day(cls, value: timedelta) -> timedelta:
        if value and value < timedelta(days=1):
            raise ValueError("must be 0 or at least 1d")
        return value

    @field_validator("database_replica_url", "database_pooler")
    @classmethod
    def _is_of_postgresql(cls, value: str | bool, info: ValidationInfo) -> str | bool:
        if value and is_mongodb(info.data.get("database_url", "")):
            raise ValueError("is for PostgreSQL; on MongoDB reads that may be old go to secondaries by themselves")
        return value

    @field_validator("*")
    @classmethod
    def _is_sane(cls, value: Any) -> Any:
        return check_sane(value)

    @field_validator("public_url")
    @classmethod
    def _is_an_issuer(cls, url: str) -> str:
        if url.endswith("/") or "?" in url or "#" in url or "@" in url:
            raise ValueError("must have no slash at its end, no query and no credentials: https://api.example.com")
        return url

    @property
    def is_development(self) -> bool:
        """Whether development conveniences may be on."""
        return self.environment is Environment.DEVELOPMENT

    @classmethod
    def load(cls, sources: Sources, overrides: Mapping[str, Any] | None = None) -> Self:
        """Resolve every field.

        :param overrides: values that win over every source (a command-line flag).
        :raises ConfigError: with all findings at once.
        """
        settings, _ = cls.resolve(sources, overrides)
        return settings

    @classmethod
    def value(cls, name: str, sources: Sources) -> Any:
        """Resolve one field alone, for a command that needs no other. Raises ConfigError when it cannot be used."""
        found = cls._find(name, sources)
        try:
            return getattr(cls.model_validate({name: found[0]} if found else {}), name)
        except ValidationError as error:
            raise ConfigError([f"{cls.variable(name)}: {said(entry)}" for entry in error.errors()]) from None

    @classmethod
    def resolve(cls, sources: Sources, overrides: Mapping[str, Any] | None = None) -> tuple[Self, list[Resolved]]:
        """Resolve every field and say where each came from. Raises ConfigError."""
        values: dict[str, Any] = {}
        origins: dict[str, str] = {}
        findings: list[str] = []
        refused: set[str] = set()
        for name in cls.model_fields:
            if overrides and name in overrides:
                values[name], origins[name] = overrides[name], "command line"
                continue
            try:
                found = cls._find(name, sources)
            except ConfigError as error:
                findings += error.findings
                refused.add(name)
            else:
                if found is not None:
                    values[name], origins[name] = found
        findings += cls._secrets(values, origins, sources, refused)
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            for entry in error.errors():
                if not entry["loc"]:  # of several settings together; it names them
                    findings.append(said(entry))
                    continue
                name = str(entry["loc"][0])
                findings.append(f"{cls.variable(name)}: {said(entry)} (from {origins.get(name, 'default')})")
            raise ConfigError(findings) from None
        if findings:
            raise ConfigError(findings)
        return settings, [
            Resolved(name, cls._shown(name, getattr(settings, name)), origins.get(name, "default")) for name in cls.model_fields
        ]

    @classmethod
    def _find(cls, name: str, sources: Sources) -> tuple[Any, str] | None:
        found = cls._looked_up(name, sources)
        if sources.store is None and found is not None and found[0] and name in cls.logins.values():
            raise ConfigError([f"{cls.variable(name)}: needs STYLOBATE_VAULT_ADDRESS: where Vault is"])
        if sources.store is not None and found is not None and name in cls.logins:
            return cls._with_logins(name, found, sources.store, cls._looked_up(cls.logins[name], sources))
        if sources.store is None or name not in _WITH_LOGIN:
            return found
        url, origin = found or (cls.model_fields[name].default, "default")
        made = sources.store.with_login(url) if url else None
        return found if made is None else (made[0], f"{origin}, user of {made[1]}")

    @classmethod
    def _with_logins(
        cls, name: str, found: tuple[Any, str], store: SettingStore, roles: tuple[Any, str] | None
    ) -> tuple[Any, str]:
        """Return URLs of databases with the users that the store makes for those of them that have a role."""
        urls, origin = dict(found[0]), found[1]
        for database, role in roles[0].items() if roles is not None else ():
            made = store.with_login(urls[database], role, cls.variable(cls.logins[name])) if database in urls else None
            if made is not None:
                urls[database], origin = made[0], f"{origin}, user of {database} of {made[1]}"
        return urls, origin

    @classmethod
    def _looked_up(cls, name: str, sources: Sources) -> tuple[Any, str] | None:
        owns = [f"{cls.service}_{name}"] if cls.service else []
        files = [*owns, name] if cls._is_shared(name) else owns
        store = sources.store if not name.startswith(_OF_THE_STORE) else None
        if store is not None and any(store.requires(file) for file in files):
            return cls._required(name, store)
        is_secret = _extra(cls.model_fields[name]).get("secret")
        if store is not None and is_secret and (found := cls._in_store(name, store)) is not None:
            return found
        for folder in sources.folders:
            for file in files:
                path = folder / file
                if path.is_file():
                    return cls._parsed(name, _read(path)), f"file {path}"
        if store is not None and not is_secret and (found := cls._in_store(name, store)) is not None:
            return found
        for variable in (f"STYLOBATE_{file}".upper() for file in files):
            if sources.environ.get(variable):  # an empty one is not set: how it is taken back in a container's environment
                return cls._parsed(name, sources.environ[variable]), f"environment {variable}"
        return None

    @classmethod
    def _in_store(cls, name: str, store: SettingStore) -> tuple[Any, str] | None:
        for path in cls._paths(name):
            if text := store.find(path, name):
                return cls._parsed(name, text), store.place(path, name)
        return None

    @classmethod
    def _required(cls, name: str, store: SettingStore) -> tuple[Any, str]:
        if (found := cls._in_store(name, store)) is None:
            places = " and ".join(store.place(path, name) for path in cls._paths(name))
            why = store.problem or "there is no such value; write it there"
            raise ConfigError([f"{cls.variable(name)}: STYLOBATE_VAULT_REQUIRED wants it from {places}: {why}"])
        return found

    @classmethod
    def _paths(cls, name: str) -> list[str]:
        """Return where a store keeps it: with what is the service's own, then with what all share."""
        return ([cls.service] if cls.service else []) + ([SHARED] if cls._is_shared(name) else [])

    @classmethod
    def _secrets(cls, values: dict[str, Any], origins: dict[str, str], sources: Sources, refused: Container[str]) -> list[str]:
        findings, store = [], sources.store
        environment = values.get("environment", cls.model_fields["environment"].default)
        if environment not in list(Environment):
            return []  # said already, and which secrets may be made up hangs on it
        for name, info in cls.model_fields.items():
            extra = _extra(info)
            if not extra.get("secret") or values.get(name) or name in refused:
                continue
            path = None if sources.generated is None else sources.generated / f"{cls.service}_{name}"
            is_made_up = environment == Environment.DEVELOPMENT and extra.get("generate") and path is not None
            # while a store is away there may be one in it, and another must not be made up; one that is there was made up before
            if path is not None and is_made_up and (store is None or not store.problem or path.is_file()):
                values[name], origins[name] = _generated(path), f"generated {path}"
            elif extra.get("generate") and extra.get("required"):
                places = [store.place(path, name) for path in cls._paths(name)] if store is not None else []
                places += [str(folder / f"{cls.service}_{name}") for folder in sources.folders]
                why = f" ({store.problem})" if store is not None and store.problem else ""
                findings.append(f"{cls.variable(name)}: missing secret; looked at {', '.join(places)} and the environment{why}")
        return findings

    @classmethod
    def _is_shared(cls, name: str) -> bool:
        return name in Settings.model_fields or not cls.service

    @classmethod
    def variable(cls, name: str) -> str:
        """Return the environment variable of a field, which is what a setting is called when something is said of it."""
        return f"STYLOBATE_{cls.service}_{name}".upper() if not cls._is_shared(name) else f"STYLOBATE_{name}".upper()

    @classmethod
    def _parsed(cls, name: str, text: str) -> Any:
        annotation = cls.model_fields[name].annotation
        if get_origin(annotation) in _LISTS:
            return [part.strip() for part in text.split(",") if part.strip()]
        if get_origin(annotation) is Mapping:
            return cls._pairs(name, text)
        if annotation is timedelta and (found := _DURATION.fullmatch(text)):
            seconds = float(found[1]) * _UNITS[found[2]]
            if seconds > _LONGEST.total_seconds():
                raise ConfigError([f"{cls.variable(name)}: {text} is longer than {_LONGEST.days} days"])
            return timedelta(seconds=seconds)
        return text

    @classmethod
    def _pairs(cls, name: str, text: str) -> dict[str, str]:
        """Return the pairs of a mapping. Raises ConfigError for what is none, or a name that comes twice."""
        pairs: dict[str, str] = {}
        for place, part in enumerate(text.split(), 1):
            found = _PAIR.fullmatch(part)
            if found is None:  # not quoted: it may be a secret
                raise ConfigError([f"{cls.variable(name)}: entry {place} is not written name=value"])
            if found[1] in pairs:
                raise ConfigError([f"{cls.variable(name)}: {found[1]} comes twice"])
            pairs[found[1]] = found[2]
        return pairs

    @classmethod
    def _shown(cls, name: str, value: Any) -> str:
        if _extra(cls.model_fields[name]).get("secret") and value:
            return MASK
        if isinstance(value, Mapping):
            return " ".join(f"{key}={_without_password(str(one))}" for key, one in value.items())
        return _without_password(str(value)) if name.endswith("_url") else str(value)


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def write_once(path: Path, content: bytes) -> None:
    """Write a secret file (0600), whole; one that is there, perhaps by another process that was quicker, is kept."""
    candidate = write_beside(path, content, 0o600)
    try:
        os.link(candidate, path)  # atomic, and fails where the file exists
    except FileExistsError:
        pass
    finally:
        candidate.unlink(missing_ok=True)


def write_beside(path: Path, content: bytes, mode: int) -> Path:
    """Write a new file beside the one of the path, for it to be moved there whole, and return it."""
    candidate = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(content)
    return candidate


def _generated(path: Path) -> str:
    """Return the secret kept at the path; make it once, safe against a second process doing the same."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_once(path, secrets.token_urlsafe(48).encode())
    return _read(path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:  # it would show a part of a secret
        raise ConfigError([f"{path}: is not UTF-8 text; a secret is text, for example of `openssl rand -base64 48`"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})"]) from None


def _without_password(url: str) -> str:
    url = _IN_QUERY.sub(MASK, url)
    head, at, tail = url.rpartition("@")
    if not at or ":" not in head.partition("://")[2]:
        return url
    scheme, _, credentials = head.partition("://")
    return f"{scheme}://{credentials.partition(':')[0]}:{MASK}@{tail}"
