"""What every store promises of API keys, held against both."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from stylobate.ids import new_id
from stylobate_auth.api_key import ApiKey, NewApiKey

from .stores import NOW, add_account, new_account

DAY = timedelta(days=1)


async def _key(store: Any, owner: str = "", **changes: Any) -> ApiKey:
    owner = owner or (await add_account(store, new_account(f"{new_id()}@example.com"))).id
    key = ApiKey("default", new_id(), owner, "import", ("orders:read",), ("192.0.2.0/24",), NOW, **changes)
    async with store.transaction() as transaction:
        await transaction.add_api_key(NewApiKey(key, b"h" * 32))
    return key


async def test_a_key_is_found_as_it_was_added(bench: Any) -> None:
    """By tenant and id, and by its id alone with its hash; nothing that is no id finds any."""
    key = await _key(bench.store, expires_at=NOW + DAY, rate_limit="5/minute")
    assert await bench.other.api_key("default", key.id) == key
    assert await bench.other.api_keys_by_id([key.id, new_id(), "", "x", key.id.upper()]) == {key.id: NewApiKey(key, b"h" * 32)}
    assert await bench.other.api_key("another", key.id) is None
    for other in (new_id(), "", "x", key.id.replace("-", "")):
        assert await bench.other.api_key("default", other) is None


async def test_an_accounts_keys_come_in_order(bench: Any) -> None:
    """Those of this account that are not revoked, page by page."""
    owner = (await add_account(bench.store, new_account())).id
    keys = [await _key(bench.store, owner) for _ in range(3)]
    await _key(bench.store)
    async with bench.store.transaction() as transaction:
        assert await transaction.end_api_key(keys[1], NOW)
        assert not await transaction.end_api_key(keys[1], NOW + DAY)
    assert await bench.other.api_keys("default", owner, "", 9) == [keys[0], keys[2]]
    assert await bench.other.api_keys("default", owner, keys[0].id, 1) == [keys[2]]
    assert await bench.other.api_keys("default", "x", "", 9) == []
    assert (await bench.other.api_key("default", keys[1].id)).revoked_at == NOW


async def test_a_key_is_exchanged_once(bench: Any) -> None:
    """It ends at that time, or before where it does; one that is over is not exchanged."""
    key, short = await _key(bench.store), await _key(bench.store, expires_at=NOW + DAY)
    for one, ends in ((key, NOW + 2 * DAY), (short, NOW + DAY)):
        async with bench.store.transaction() as transaction:
            successor = new_id()
            kept = await transaction.replace_api_key(one, successor, NOW, NOW + 2 * DAY)
            assert kept == replace(one, replaced_by=successor, expires_at=ends)
            assert await transaction.replace_api_key(one, new_id(), NOW, NOW + 2 * DAY) is None
    ended = await _key(bench.store, expires_at=NOW)
    async with bench.store.transaction() as transaction:
        assert await transaction.replace_api_key(ended, new_id(), NOW, NOW + DAY) is None


async def test_a_key_is_given_another_limit(bench: Any) -> None:
    """Also one that was exchanged, as long as it holds; one that is over keeps what it had."""
    key, expired = await _key(bench.store, rate_limit="5/minute"), await _key(bench.store, expires_at=NOW)
    async with bench.store.transaction() as transaction:
        assert await transaction.limit_api_key(key, "9/minute", NOW) == replace(key, rate_limit="9/minute")
        assert await transaction.limit_api_key(expired, "9/minute", NOW) is None
        kept = await transaction.replace_api_key(key, new_id(), NOW, NOW + DAY)
        assert await transaction.limit_api_key(key, "", NOW) == replace(kept, rate_limit="")
    assert (await bench.other.api_key("default", key.id)).rate_limit == ""
    async with bench.store.transaction() as transaction:
        await transaction.end_api_key(key, NOW)
        assert await transaction.limit_api_key(key, "9/minute", NOW) is None


async def test_keys_are_counted_one_after_the_other(bench: Any) -> None:
    """Two that count and add at the same moment see each other; what is over does not count."""
    owner = (await add_account(bench.store, new_account())).id
    await _key(bench.store, owner, expires_at=NOW)

    async def one_more(store: Any) -> int:
        async with store.transaction() as transaction:
            count: int = await transaction.count_api_keys("default", owner, NOW)
            await asyncio.sleep(0.01)
            await transaction.add_api_key(NewApiKey(ApiKey("default", new_id(), owner, "a", (), (), NOW), b"h" * 32))
            return count

    assert sorted(await asyncio.gather(one_more(bench.store), one_more(bench.other), one_more(bench.store))) == [0, 1, 2]


async def test_the_latest_use_is_kept(bench: Any) -> None:
    """Whoever writes last; of keys that are gone nothing is kept."""
    key = await _key(bench.store)
    for at in (NOW, NOW + DAY, NOW):
        await bench.store.note_api_keys_used({("default", key.id): at, ("default", new_id()): at})
    assert (await bench.other.api_key("default", key.id)).last_used_at == NOW + DAY


async def test_what_is_over_for_a_month_goes(bench: Any) -> None:
    """Not before, and nothing that has no end."""
    lasting, expired, revoked = await _key(bench.store), await _key(bench.store, expires_at=NOW), await _key(bench.store)
    async with bench.store.transaction() as transaction:
        await transaction.end_api_key(revoked, NOW + DAY)
    assert await bench.store.prune(NOW + 30 * DAY - timedelta(seconds=1)) == 0
    assert await bench.store.prune(NOW + 30 * DAY) == 1
    assert await bench.other.api_key("default", expired.id) is None
    assert await bench.store.prune(NOW + 31 * DAY) == 1
    assert await bench.other.api_key("default", revoked.id) is None
    assert await bench.other.api_key("default", lasting.id) == lasting
