"""HashiCorp Vault and OpenBao: where settings and secrets come from, kept current while the platform runs."""

from stylobate.vault.errors import VaultDeniedError, VaultError, VaultUnavailableError
from stylobate.vault.manager import VaultManager
from stylobate.vault.options import AuthMethod, VaultOptions
from stylobate.vault.secrets import VaultSecrets
from stylobate.vault.settings import VaultSettings

__all__ = [
    "AuthMethod",
    "VaultDeniedError",
    "VaultError",
    "VaultManager",
    "VaultOptions",
    "VaultSecrets",
    "VaultSettings",
    "VaultUnavailableError",
]
