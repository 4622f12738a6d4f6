"""What seals the keys that a service keeps in its database: a secret of its own, or a key of Vault's Transit engine."""

from datetime import timedelta

from stylobate.app.manager import AppManager
from stylobate.config import ConfigError
from stylobate.encryption import KeyEncryption, KeyNotOpenedError, SealedKey
from stylobate.encryption.transit import TransitKeyEncryption
from stylobate.resilience import wait_for_dependency
from stylobate.vault import TransitSettings
from stylobate.vault.errors import VaultError, VaultUnavailableError


async def key_encryption(
    app: AppManager, settings: TransitSettings, secret: KeyEncryption | None, *, purpose: str
) -> KeyEncryption | None:
    """Return what seals and opens, waiting for Vault where that does it; None: nobody said what.

    :param secret: made of the service's secrets, where there are any: it seals where Transit does not, and opens what it sealed.
    :param purpose: what is sealed.
    :raises ConfigError: the key of Transit does not do, or Vault does not let us use it.
    """
    setting = f"STYLOBATE_{settings.service}_TRANSIT_KEY".upper()
    if app.vault is None:
        if settings.transit_key:
            raise ConfigError([f"{setting}: needs STYLOBATE_VAULT_ADDRESS: where Vault is"])
        return secret
    opened = TransitKeyEncryption.open_for(
        app.vault, settings.transit_key, mount=settings.transit_mount, purpose=purpose, lasts=settings.transit_cache
    )
    transit = await app.enter(opened, name=f"transit {purpose}")
    if not settings.transit_key:
        return None if secret is None else _Both(secret, secret, transit)
    try:
        await wait_for_dependency(f"key {transit.place}", transit.look, faults=(VaultUnavailableError,))
    except ConfigError as error:
        raise ConfigError([f"{setting}: {finding}" for finding in error.findings]) from None
    except VaultError as error:
        raise ConfigError([f"{setting}: {error}"]) from None
    app.task(f"transit {purpose}", transit.keep)
    return _Both(transit, secret, transit)


class _Both:
    """The port, for keys of which a secret has sealed some, and Transit others."""

    def __init__(self, seals: KeyEncryption, secret: KeyEncryption | None, transit: TransitKeyEncryption) -> None:
        self._seals = seals
        self._secret = secret
        self._transit = transit

    @property
    def id(self) -> str:
        return self._seals.id

    @property
    def lasts(self) -> timedelta | None:
        return self._seals.lasts

    async def seal(self, data: bytes, about: str) -> SealedKey:
        return await self._seals.seal(data, about)

    async def open(self, sealed: bytes, sealed_by: str, about: str) -> bytes:
        if self._transit.has_sealed(sealed_by):
            return await self._transit.open(sealed, sealed_by, about)
        if self._secret is None:
            raise KeyNotOpenedError("a secret has sealed it, and none is set")
        return await self._secret.open(sealed, sealed_by, about)
