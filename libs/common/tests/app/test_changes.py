"""Settings that change while a service runs: who takes them, and who hears of them late."""

from typing import ClassVar

from stylobate.app.changes import SettingChanges
from stylobate.config import ConfigError, Settings


class ShopSettings(Settings):
    """A service's settings for these tests."""

    service: ClassVar[str] = "shop"

    limit: int = 3


async def test_who_follows_late_hears_of_what_has_changed() -> None:
    """A database that the start did not wait for takes a password that was exchanged before it was there."""
    before, fresh = ShopSettings(), ShopSettings(database_url="postgresql://ada:new@localhost/shop")
    changes = SettingChanges(before)
    changes.forget("database_")
    assert await changes.take(fresh) == ""  # nobody uses it yet
    taken = []

    async def take(settings: ShopSettings) -> None:
        taken.append(settings.database_url)

    changes.follow(frozenset({"database_url", "database_replica_url"}), take)
    for _ in range(2):
        assert await changes.take(fresh) == ""
    assert taken == [fresh.database_url]


async def test_what_one_cannot_take_is_offered_to_all_again() -> None:
    """Two databases follow one setting: that the one has taken it must not hide that the other has not."""
    changes, taken, refusals = SettingChanges(ShopSettings()), list[str](), [ConfigError(["refused there"])]

    async def refuse(_: ShopSettings) -> None:
        if refusals:
            raise refusals.pop()
        taken.append("other")

    async def take(_: ShopSettings) -> None:
        taken.append("one")

    changes.follow(frozenset({"limit"}), refuse)
    changes.follow(frozenset({"limit"}), take)
    fresh = ShopSettings(limit=4)
    assert await changes.take(fresh) == "STYLOBATE_SHOP_LIMIT changed and cannot be used yet: refused there"
    assert changes.newest is fresh
    for _ in range(2):
        assert await changes.take(fresh) == ""
    assert taken == ["one", "other", "one"]


async def test_what_cannot_be_taken_yet_is_tried_again() -> None:
    """And what nobody follows waits for the next start."""
    changes, refusals = SettingChanges(ShopSettings()), [ConfigError(["refused there"])]

    async def take(_: ShopSettings) -> None:
        if refusals:
            raise refusals.pop()

    changes.follow(frozenset({"database_url"}), take)
    fresh = ShopSettings(database_url="postgresql://ada:new@localhost/shop", limit=4)
    waits = "STYLOBATE_SHOP_LIMIT changed and is taken at the next start"
    assert await changes.take(fresh) == f"STYLOBATE_DATABASE_URL changed and cannot be used yet: refused there; {waits}"
    assert await changes.take(fresh) == waits
