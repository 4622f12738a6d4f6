"""HashiCorp Vault and OpenBao: where settings and secrets come from, kept current while the platform runs."""

from dataclasses import replace

from stylobate.config import Sources
from stylobate.vault.errors import VaultDeniedError, VaultError, VaultUnavailableError
from stylobate.vault.manager import VaultManager
from stylobate.vault.options import AuthMethod, VaultOptions
from stylobate.vault.secrets import VaultSecrets
from stylobate.vault.settings import TransitSettings, VaultSettings

__all__ = [
    "AuthMethod",
    "TransitSettings",
    "VaultDeniedError",
    "VaultError",
    "VaultManager",
    "VaultOptions",
    "VaultSecrets",
    "VaultSettings",
    "VaultUnavailableError",
    "with_vault",
]


def with_vault(sources: Sources) -> tuple[Sources, VaultManager | None]:
    """Return the sources with Vault among them, where the settings name one. Raises ConfigError."""
    options = VaultSettings.options(sources)
    if options is None:
        return sources, None
    vault = VaultManager(options)
    return replace(sources, store=vault.secrets), vault
