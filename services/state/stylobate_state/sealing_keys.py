"""The keys that encrypted fields of namespaces are sealed with: where they come from, and how they stand."""

from collections.abc import Iterable
from functools import partial

from stylobate.app.key_encryption import key_encryption
from stylobate.app.manager import AppManager
from stylobate.config import ConfigError
from stylobate.encryption import NOT_THE_KEY, DataKeys, KeyNotOpenedError, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.encryption.port import DataKeyStore
from stylobate.idempotency import NO_SECRET, Idempotency, Keeping, secret_of
from stylobate.resilience import wait_for_dependency

from stylobate_state.owner_keys import OwnerKeys
from stylobate_state.request_keys import DataKeyKeeping
from stylobate_state.sealing import NO_SEALING, Sealing, purpose_of
from stylobate_state.settings import StateSettings
from stylobate_state.store.memory_owner_keys import MemoryOwnerKeyStore
from stylobate_state.store.owner_keys import OwnerKeyStore

_WAITED_FOR = "the keys of encrypted fields in the database of state"
_PURPOSE = "state.encryption_key"
_FOR_TESTS = "the key of a test kit, which keeps nothing"


async def open_sealing(app: AppManager, settings: StateSettings, store: DataKeyStore, owners: OwnerKeyStore) -> Sealing:
    """Return what seals and opens. Raises ConfigError where fields are encrypted and there is no key to do it with."""
    encrypted = sorted(name for name, one in app.declarations.namespaces.items() if one.encrypted)
    if not settings.encryption_key and not settings.transit_key:
        if encrypted:
            named = ", ".join(encrypted)
            raise ConfigError([f"STYLOBATE_STATE_ENCRYPTION_KEY: missing secret; `encrypted_fields` of {named} need it"])
        return NO_SEALING
    secret = _of_secrets(app, settings) if settings.encryption_key else None
    encryption = await key_encryption(app, settings, secret, purpose=_PURPOSE)
    if encryption is None:
        raise AssertionError("one of both is set")
    keys = DataKeys(store, encryption)
    try:
        for name in encrypted:
            await wait_for_dependency(_WAITED_FOR, partial(keys.current, purpose_of(name)))
    except KeyNotOpenedError as error:
        setting = "TRANSIT" if settings.transit_key else "ENCRYPTION"
        raise ConfigError([f"STYLOBATE_STATE_{setting}_KEY: {str(error) or NOT_THE_KEY}"]) from None
    if encryption.lasts is not None:
        app.task("data-keys", keys.keep)
    app.check("encryption", keys.health)
    return Sealing(keys, OwnerKeys(owners, keys))


def _of_secrets(app: AppManager, settings: StateSettings) -> SecretKeyEncryption:
    """Return what secrets make, which follows them."""
    encryption = SecretKeyEncryption(settings.encryption_key, [settings.encryption_key_before], purpose=_PURPOSE)

    async def take(fresh: StateSettings) -> None:
        if not fresh.encryption_key:
            raise ConfigError(["STYLOBATE_STATE_ENCRYPTION_KEY: missing secret; the one before is used on"])
        encryption.use(fresh.encryption_key, [fresh.encryption_key_before])

    app.follow("encryption_key", "encryption_key_before", take=take)
    return encryption


def keep_sealed(app: AppManager, settings: StateSettings, sealing: Sealing, kept: Iterable[Idempotency]) -> None:
    """Have requests about encrypted fields, and answers, kept so that nobody can read or guess them, where there is a key."""
    everywhere = [*kept]

    def keep(*texts: str) -> None:
        keeping = Keeping.of(*texts)
        if settings.transit_key and sealing.keys is not None:  # what secrets have kept is known still, while they are set
            keeping = DataKeyKeeping(sealing.keys, [*map(secret_of, texts), NO_SECRET])
        for one in everywhere:
            one.keeping = keeping

    async def take(fresh: StateSettings) -> None:
        keep(fresh.encryption_key, fresh.encryption_key_before, settings.encryption_key)

    app.follow("encryption_key", "encryption_key_before", take=take)
    keep(settings.encryption_key, settings.encryption_key_before)


def sealing_in_memory() -> Sealing:
    """Return one for the test kit: what its store keeps is sealed, as it is in production."""
    keys = DataKeys(MemoryDataKeyStore(), SecretKeyEncryption(_FOR_TESTS, purpose=_PURPOSE))
    return Sealing(keys, OwnerKeys(MemoryOwnerKeyStore(), keys))
