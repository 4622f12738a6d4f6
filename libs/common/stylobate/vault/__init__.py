"""HashiCorp Vault and OpenBao: where settings and secrets come from, kept current while the platform runs."""

from dataclasses import replace
from typing import TYPE_CHECKING

from stylobate.config import Sources
from stylobate.vault.errors import VaultDeniedError, VaultError, VaultUnavailableError
from stylobate.vault.options import AuthMethod, VaultOptions
from stylobate.vault.settings import TransitSettings, VaultSettings

if TYPE_CHECKING:
    from stylobate.vault.manager import VaultManager

__all__ = [
    "AuthMethod",
    "TransitSettings",
    "VaultDeniedError",
    "VaultError",
    "VaultOptions",
    "VaultSettings",
    "VaultUnavailableError",
    "with_vault",
]


def with_vault(sources: Sources) -> "tuple[Sources, VaultManager | None]":
    """Return the sources with Vault among them, where the settings name one. Raises ConfigError."""
    options = VaultSettings.options(sources)
    if options is None:
        return sources, None
    from stylobate.vault.manager import VaultManager  # noqa: PLC0415  a command that asks no Vault starts without it

    vault = VaultManager(options)
    return replace(sources, store=vault.secrets), vault
