"""Data keys: what every store of them promises, and who opens what is sealed; two DataKeys stand for two processes."""

import asyncio
from datetime import timedelta

import pytest
from stylobate.database import MigrationSet
from stylobate.encryption import DataKeys, KeyNotOpenedError, SealedInvalidError, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.encryption.mongodb import MongoDataKeyStore
from stylobate.encryption.postgres import PostgresDataKeyStore
from stylobate.testing.fixtures import DatabaseFor, MongoFor

OLD, NEW = "o" * 40, "n" * 40
AT_ONCE = timedelta(0)


@pytest.fixture(params=["memory", "postgres", "mongodb"])
def store(request):
    """Give each adapter in turn."""
    return MemoryDataKeyStore() if request.param == "memory" else request.getfixturevalue(f"on_{request.param}")


@pytest.fixture
async def on_postgres(database_for: DatabaseFor):
    """Give the one in PostgreSQL."""
    return PostgresDataKeyStore(await database_for("state", MigrationSet.of("encryption")))


@pytest.fixture
async def on_mongodb(mongo_for: MongoFor):
    """Give the one in MongoDB."""
    return MongoDataKeyStore(await mongo_for("state", MigrationSet.of("encryption")))


def by(secret, *former, purpose="test"):
    """Return a key-encryption key."""
    return SecretKeyEncryption(secret, former, purpose=purpose)


async def test_another_process_opens_what_one_has_sealed(store):
    """Each purpose has one key, also when two processes need the first one at the same moment."""
    one, other = DataKeys(store, by(OLD)), DataKeys(store, by(OLD))
    first, second = await asyncio.gather(one.current("a"), other.current("a"))
    assert first.id == second.id
    sealed = one.seal(first, b"value", b"place")
    assert await other.open(sealed, b"place") == b"value"
    assert (await one.current("b")).id != first.id
    assert b"value" not in sealed.encode()


_CHANGES = (lambda text: text[:-3] + "AAA", lambda text: text[:-1], lambda text: text[:30], lambda _: "sealed.1.x")


@pytest.mark.parametrize("change", _CHANGES)
async def test_what_was_changed_or_moved_does_not_open(store, change):
    """Nor does what somebody made up."""
    keys = DataKeys(store, by(OLD))
    sealed = keys.seal(await keys.current("a"), b"value", b"place")
    for text, about in ((change(sealed), b"place"), (sealed, b"elsewhere")):
        with pytest.raises(SealedInvalidError):
            await keys.open(text, about)


async def test_another_generation_seals_and_the_one_before_opens(store):
    """A new key is made when asked for, when the old one is too old, or when it has sealed enough values.

    Other processes seal with it as soon as they have looked at the database again.
    """
    one, other = DataKeys(store, by(OLD), look=AT_ONCE), DataKeys(store, by(OLD), look=AT_ONCE)
    first = await one.current("a")
    sealed = one.seal(first, b"value", b"place")
    second = await other.rotate("a")
    assert (second.generation, (await one.current("a")).id) == (2, second.id)
    assert await one.open(sealed, b"place") == b"value"
    old = DataKeys(store, by(OLD), look=AT_ONCE, most_age=AT_ONCE)
    assert (await old.current("a")).generation == 3
    busy = DataKeys(store, by(OLD), most_sealed=2)
    for _ in range(2):
        busy.seal(await busy.current("a"), b"", b"")
    assert (await busy.current("a")).generation == 4
    assert [(key.generation, key.is_current) for key in await one.standings()] == [(1, False), (2, False), (3, False), (4, True)]


async def test_another_key_encryption_key(store):
    """What the one before has sealed is opened while it is named, and sealed anew; without it, it is not opened."""
    before = DataKeys(store, by(OLD))
    sealed = before.seal(await before.current("a"), b"value", b"place")
    lacking = DataKeys(store, by(NEW))
    with pytest.raises(KeyNotOpenedError):
        await lacking.current("a")
    with pytest.raises(SealedInvalidError, match="cannot be opened"):
        await lacking.open(sealed, b"place")
    assert lacking.unopened
    assert (await lacking.standings())[0].is_foreign
    assert await DataKeys(store, by(NEW, OLD)).reseal() == 1
    assert await DataKeys(store, by(NEW)).open(sealed, b"place") == b"value"
    assert not (await lacking.standings())[0].is_foreign


async def test_a_secret_makes_another_key_for_another_purpose(store):
    """What two services keep under one secret is not each other's."""
    await DataKeys(store, by(OLD)).current("a")
    with pytest.raises(KeyNotOpenedError):
        await DataKeys(store, by(OLD, purpose="other")).current("a")


async def test_one_key_that_nobody_opens_holds_no_other_back(store):
    """When all are sealed anew, however many there are; it is told all the same."""
    lost = DataKeys(store, by("l" * 40))
    await lost.current("a")
    former = DataKeys(store, by(OLD))
    purposes = [f"b{number:03d}" for number in range(100)]
    await asyncio.gather(*map(former.current, purposes))
    keys = DataKeys(store, by(NEW, OLD))
    with pytest.raises(KeyNotOpenedError):
        await keys.reseal()
    assert [standing.purpose for standing in await keys.standings() if standing.is_foreign] == ["a"]
