"""How a process reaches Vault, and who it is there."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

AuthMethod = Literal["approle", "kubernetes", "token"]


@dataclass(frozen=True, slots=True)
class VaultOptions:
    """All of it. No secret stands in here: what proves who we are is read from a file each time it is needed."""

    address: str
    """``https://vault:8200``."""
    auth: AuthMethod
    role: str
    """The role id of an AppRole, or the name of a Kubernetes role."""
    credentials: Path
    """A file: the secret id of the AppRole, the service account's token, or a token of Vault."""
    auth_mount: str
    """Where the method is mounted: ``approle``."""
    mount: str
    """Of the KV v2 engine: ``secret``."""
    path: str
    """Below it: ``stylobate``."""
    authority: str = ""
    """File of the certificates that the server's own is held against; empty: those of the machine."""
    namespace: str = ""
    """Of Vault Enterprise or OpenBao."""
    timeout: timedelta = timedelta(seconds=2)
    """For an answer."""
    refresh: timedelta = timedelta(seconds=10)
    """How often is looked for what has changed."""
    database_role: str = ""
    """Of the database secrets engine: what makes users of the database; empty: nothing does."""
    database_mount: str = "database"
    """Where that engine is mounted."""
    required: tuple[str, ...] = ()
    """Names of settings for which no other source is used: ``auth_signing_key``, ``database_url``, ``module_shop_token``."""

    def at(self, path: str) -> str:
        """Return where a path of ours stands, as people write it: ``secret/stylobate/auth``."""
        return f"{self.mount}/{self.path}/{path}"
