"""What a process is told about Vault: resolved without it."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from stylobate.config import ConfigError, Settings, Sources
from stylobate.value_kinds import HttpUrl
from stylobate.vault.options import AuthMethod, VaultOptions

_OF_KUBERNETES = "/var/run/secrets/kubernetes.io/serviceaccount/token"


class VaultSettings(Settings):
    """The settings about Vault of every process; they come from files and the environment, never from Vault."""

    vault_address: HttpUrl = ""
    """Vault or OpenBao, `https://vault:8200`. Empty: none is asked. Needs the extra `stylobate[vault]`."""
    vault_auth: AuthMethod = "approle"
    """How a process logs in there: `approle`, `kubernetes`, or `token`, which it is given."""
    vault_auth_mount: str = ""
    """Where that method is mounted; empty: under its own name."""
    vault_role: str = ""
    """The role id of the AppRole, or the name of the Kubernetes role."""
    vault_credentials_file: str = ""
    """File with the AppRole's secret id, or with the token; it is read again at each login. Empty, for Kubernetes: the service
    account's own."""
    vault_mount: str = "secret"
    """Where the engine for secrets (KV version 2) is mounted."""
    vault_path: str = "stylobate"
    """Below which path everything stands there: `<path>/shared`, `<path>/<service>`, `<path>/modules/<module>`."""
    vault_authority: str = ""
    """File of the certificates that Vault's own is held against; empty: those of the machine."""
    vault_namespace: str = ""
    """The namespace, where Vault has several."""
    vault_timeout: timedelta = Field(timedelta(seconds=2), ge=timedelta(milliseconds=100), le=timedelta(seconds=30))
    """How long an answer may take."""
    vault_refresh: timedelta = Field(timedelta(seconds=10), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """How often is looked for values that have changed."""
    vault_identity: bool = False
    """Whether keys of services come from Vault, and not from files: the private key of a service is `identity_key` at its own
    path, the public keys of all are at the path `identity`, as `<service>` or `<service>.<label>`."""
    vault_database_role: str = Field(default="", pattern=r"[A-Za-z0-9_.-]*")
    """A role of Vault's engine for databases: it makes a user for each process, and user and password in `database_url` and
    `database_replica_url` are those. Empty: they are as they are set."""
    vault_database_mount: str = "database"
    """Where that engine is mounted."""
    vault_required: tuple[str, ...] = ()
    """Settings that come from Vault and from nowhere else: `auth_signing_key,database_url`. Without Vault nothing starts then."""

    @field_validator("vault_mount", "vault_path", "vault_auth_mount", "vault_database_mount")
    @classmethod
    def _is_a_path(cls, text: str) -> str:
        return _path(text)

    @field_validator("vault_authority")
    @classmethod
    def _is_a_file(cls, path: str) -> str:
        if path and not Path(path).is_file():
            raise ValueError(f"{path} is not a file")
        return path

    @classmethod
    def options(cls, sources: Sources) -> VaultOptions | None:
        """Return how Vault is reached; None: nobody said where it is. Raises ConfigError, with all findings at once."""
        alone, values, findings = replace(sources, store=None), dict[str, Any](), list[str]()
        for name in VaultSettings.model_fields:
            if name.startswith("vault_"):
                try:
                    values[name] = cls.value(name, alone)
                except ConfigError as error:
                    findings += error.findings
        if findings:
            raise ConfigError(findings)
        return _options(values)


class TransitSettings(Settings):
    """The settings of a service whose keys Vault's Transit engine may seal."""

    transit_key: str = Field(default="", pattern=r"[A-Za-z0-9_.-]*")
    """Name of a key of Vault's Transit engine: it seals the keys in this service's database, in place of its secrets. What these
    have sealed is opened by them on, until it was sealed anew. Empty: Transit seals nothing. Needs `STYLOBATE_VAULT_ADDRESS`."""
    transit_mount: str = "transit"
    """Where that engine is mounted."""
    transit_cache: timedelta = Field(default=timedelta(days=1), ge=timedelta(minutes=1), le=timedelta(days=365))
    """How long a key that Vault has opened is used before Vault has to open it again. After half of it Vault is asked; so a Vault
    that is away harms nobody for at least as long, and who takes a right away knows when it ends."""

    @field_validator("transit_mount")
    @classmethod
    def _is_a_mount(cls, text: str) -> str:
        return _path(text)


def _path(text: str) -> str:
    """Return a path of Vault. Raises ValueError."""
    parts = text.split("/") if text else []
    if not all(part.isprintable() and ":" not in part and part not in {"", ".", ".."} for part in parts):
        raise ValueError(f"{text!r} is not a path; team/stylobate is one")
    return text


def _options(values: dict[str, Any]) -> VaultOptions | None:
    address, auth = values["vault_address"], values["vault_auth"]
    if not address:
        for name in ("vault_required", "vault_identity", "vault_database_role"):
            if values[name]:
                raise ConfigError([f"STYLOBATE_{name.upper()}: needs STYLOBATE_VAULT_ADDRESS: where Vault is"])
        return None
    findings = []
    credentials = values["vault_credentials_file"] or (_OF_KUBERNETES if auth == "kubernetes" else "")
    if not credentials:
        what = "its secret id" if auth == "approle" else "the token"
        findings.append(f"STYLOBATE_VAULT_CREDENTIALS_FILE: missing; STYLOBATE_VAULT_AUTH={auth} needs a file with {what}")
    elif not Path(credentials).is_file():
        findings.append(f"STYLOBATE_VAULT_CREDENTIALS_FILE: {credentials} is not a file")
    if auth != "token" and not values["vault_role"]:
        what = "the role id" if auth == "approle" else "the name of the role"
        findings.append(f"STYLOBATE_VAULT_ROLE: missing; STYLOBATE_VAULT_AUTH={auth} needs {what}")
    if findings:
        raise ConfigError(findings)
    return VaultOptions(
        address=address.rstrip("/"),
        auth=auth,
        role=values["vault_role"],
        credentials=Path(credentials),
        auth_mount=values["vault_auth_mount"] or auth,
        mount=values["vault_mount"],
        path=values["vault_path"],
        authority=values["vault_authority"],
        namespace=values["vault_namespace"],
        timeout=values["vault_timeout"],
        refresh=values["vault_refresh"],
        database_role=values["vault_database_role"],
        database_mount=values["vault_database_mount"],
        required=values["vault_required"],
    )
