"""Where the keys of accounts come from, and how they stand."""

from stylobate.app.key_encryption import key_encryption
from stylobate.app.manager import AppManager
from stylobate.config import ConfigError
from stylobate.encryption import NOT_THE_KEY, DataKeys, KeyNotOpenedError, SecretKeyEncryption
from stylobate.encryption.port import DataKeyStore
from stylobate.resilience import wait_for_dependency

from stylobate_auth.account_sealing import NO_SEALING, AccountSealing
from stylobate_auth.settings import AuthSettings

_PURPOSE = "auth.encryption_key"
_WAITED_FOR = "the keys of accounts in the database of auth"


async def open_account_sealing(app: AppManager, settings: AuthSettings, store: DataKeyStore) -> AccountSealing:
    """Return what seals and opens, with its keys at hand. Raises ConfigError where accounts are sealed and there is no key."""
    if not settings.encryption_key and not settings.transit_key:
        if await wait_for_dependency(_WAITED_FOR, store.all):
            raise ConfigError(["STYLOBATE_AUTH_ENCRYPTION_KEY: missing secret; addresses of accounts are encrypted with it"])
        return NO_SEALING
    secret = _of_secrets(app, settings) if settings.encryption_key else None
    encryption = await key_encryption(app, settings, secret, purpose=_PURPOSE)
    if encryption is None:
        raise AssertionError("one of both is set")
    keys = DataKeys(store, encryption)
    sealing = AccountSealing(keys, seals=settings.encrypt_accounts)
    try:
        await wait_for_dependency(_WAITED_FOR, sealing.start)
    except KeyNotOpenedError as error:
        setting = "TRANSIT" if settings.transit_key else "ENCRYPTION"
        raise ConfigError([f"STYLOBATE_AUTH_{setting}_KEY: {str(error) or NOT_THE_KEY}"]) from None
    app.task("account-keys", sealing.keep)
    if encryption.lasts is not None:
        app.task("data-keys", keys.keep)
    app.check("encryption", keys.health)
    return sealing


def _of_secrets(app: AppManager, settings: AuthSettings) -> SecretKeyEncryption:
    """Return what secrets make, which follows them."""
    encryption = SecretKeyEncryption(settings.encryption_key, [settings.encryption_key_before], purpose=_PURPOSE)

    async def take(fresh: AuthSettings) -> None:
        if not fresh.encryption_key:
            raise ConfigError(["STYLOBATE_AUTH_ENCRYPTION_KEY: missing secret; the one before is used on"])
        encryption.use(fresh.encryption_key, [fresh.encryption_key_before])

    app.follow("encryption_key", "encryption_key_before", take=take)
    return encryption
