"""Vault's Transit as what seals data keys: versions, faults of Vault, rights that are taken away, keys in memory for a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from stylobate.config import ConfigError
from stylobate.encryption import DataKeys, KeyNotOpenedError, SealedInvalidError
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.encryption.transit import TransitKeyEncryption
from stylobate.errors import KeyEncryptionUnavailableError
from stylobate.health import Status
from stylobate.testing.until import until
from stylobate.vault import VaultError
from stylobate.vault.manager import VaultManager

DAY = timedelta(days=1)


@pytest.fixture
def transit(vault):
    """Give a function that makes an encryption by a key of Transit, and has Vault make that key."""

    @asynccontextmanager
    async def made(key: str, *, purpose: str = "test", lasts: timedelta = DAY) -> AsyncIterator[TransitKeyEncryption]:
        vault.transit(key)
        manager = VaultManager(vault.options("transit"))
        options = {"mount": "transit", "purpose": purpose, "lasts": lasts}
        async with manager.open(), TransitKeyEncryption.open_for(manager, key, **options) as encryption:
            await encryption.look()
            yield encryption

    return made


async def test_what_transit_seals_opens_for_the_same_purpose_alone(transit) -> None:
    """A key is bound to what it is for: another name, another purpose, a changed octet, another key do not open it."""
    async with transit("one") as one, transit("one", purpose="other") as other:
        sealed = await one.seal(b"k" * 32, "state/people/1")
        assert sealed.by == one.id == "transit:transit/one:v1"
        assert b"k" * 32 not in sealed.data
        assert await one.open(*sealed, "state/people/1") == b"k" * 32
        changed = sealed.data[:-2] + (b"AA" if sealed.data[-2:] != b"AA" else b"BB")
        for encryption, data, by, about in (
            (one, sealed.data, sealed.by, "state/people/2"),
            (other, sealed.data, sealed.by, "state/people/1"),
            (one, changed, sealed.by, "state/people/1"),
            (one, b"nonsense", sealed.by, "state/people/1"),
            (one, sealed.data, "transit:transit/none:v1", "state/people/1"),
            (one, sealed.data, "transit:../sys/one:v1", "state/people/1"),
        ):
            with pytest.raises(KeyNotOpenedError) as refused:
                await encryption.open(data, by, about)
            assert str(refused.value)


async def test_what_is_opened_together_is_one_request(transit, vault) -> None:
    """One that does not open fails alone."""
    async with transit("batch") as encryption:
        sealed = [await encryption.seal(bytes([n]) * 32, str(n)) for n in range(5)]
        before = _requests("open")
        opening = (encryption.open(*one, str(n) if n != 3 else "moved") for n, one in enumerate(sealed))
        opened = await asyncio.gather(*opening, return_exceptions=True)
        assert _requests("open") == before + 1
    assert opened[:3] + opened[4:] == [bytes([n]) * 32 for n in (0, 1, 2, 4)]
    assert isinstance(opened[3], KeyNotOpenedError)


async def test_another_version_seals_what_is_there_anew(transit, vault) -> None:
    """After `rotate` the key in the store is named as sealed by a former version, and sealed anew by itself."""
    store = MemoryDataKeyStore()
    async with transit("versions") as encryption:
        keys = DataKeys(store, encryption)
        text = keys.seal(await keys.current("a"), b"value", b"place")
        vault.rotate("versions")
        await encryption.look()
        assert [key.is_foreign for key in await keys.standings()] == [True]
        keeping = asyncio.create_task(keys.keep())
        await until(lambda: next(iter(store.keys.values())).sealed_by == "transit:transit/versions:v2")
        keeping.cancel()
        vault.forget("versions", before=2)
        assert await DataKeys(store, encryption).open(text, b"place") == b"value"


async def test_sealed_and_open_again(transit, vault) -> None:
    """What is open is used on; what is not waits, and health says why."""
    store = MemoryDataKeyStore()
    async with transit("away") as encryption:
        keys, new = DataKeys(store, encryption), DataKeys(store, encryption)
        text = keys.seal(await keys.current("a"), b"value", b"place")
        vault.seal()
        assert await keys.open(text, b"place") == b"value"
        with pytest.raises(KeyEncryptionUnavailableError):
            await new.open(text, b"place")
        assert "is sealed; unseal it" in (await encryption.health()).details
        with pytest.raises(VaultError, match="is sealed; unseal it"):
            await encryption.look()
        vault.unseal()
        assert await new.open(text, b"place") == b"value"
        assert (await encryption.health()).status is Status.HEALTHY


async def test_a_key_is_in_memory_for_a_time(transit, vault) -> None:
    """It is opened anew after half of it; who may not open it any more has it no longer, and while nobody answers it is used."""
    store, forgotten = MemoryDataKeyStore(), list[bool]()
    async with transit("bounded", lasts=timedelta(seconds=1)) as encryption:
        keys = DataKeys(store, encryption)
        keys.on_forgotten(lambda: forgotten.append(True))
        text = keys.seal(await keys.current("a"), b"value", b"place")
        keeping = asyncio.create_task(keys.keep())
        before = _requests("open")
        await until(lambda: keys.opened(text, b"place") and _requests("open") >= before + 2)
        vault.seal()
        assert keys.opened(text, b"place") == b"value"
        await until(lambda: keys.opened(text, b"place") is None)
        with pytest.raises(KeyEncryptionUnavailableError):
            await keys.open(text, b"place")
        vault.unseal()
        assert await keys.open(text, b"place") == b"value"
        vault.rotate("bounded")
        vault.forget("bounded", before=2)
        await until(lambda: keys.opened(text, b"place") is None)
        with pytest.raises(SealedInvalidError):
            await keys.open(text, b"place")
        assert len(forgotten) == 2
        keeping.cancel()


async def test_a_key_that_does_not_do_is_refused(vault) -> None:
    """One that is not there, one that binds nothing, a mount that the policy does not allow."""
    vault.transit("rsa", type="rsa-2048")
    manager = VaultManager(vault.options("transit"))
    async with manager.open():
        for key, mount, kind, said in (
            ("none", "transit", ConfigError, "there is no such key; `bao write -f transit/keys/none` makes it"),
            ("rsa", "transit", ConfigError, "its type must be one of"),
            ("one", "elsewhere", VaultError, "elsewhere/keys/one: permission denied; the policies of the role must allow it"),
        ):
            with pytest.raises(kind, match=said):
                await TransitKeyEncryption(manager, key, mount=mount, purpose="test", lasts=DAY).look()


def _requests(what: str) -> float:
    return REGISTRY.get_sample_value("stylobate_vault_requests_total", {"what": what, "outcome": "ok"}) or 0.0
