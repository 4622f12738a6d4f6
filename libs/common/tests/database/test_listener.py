"""Notifications from a real server."""

import asyncio

import asyncpg
import pytest
from stylobate.database import DatabaseManager
from stylobate.database.listener import Listeners
from stylobate.testing.until import until

_CUT = """
select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name like '%-listener' and datname = $1
"""


@pytest.fixture
async def database(database_for):
    """Give a manager."""
    return await database_for("shop")


async def test_each_channel_has_its_callbacks(database):
    """Every callback of a channel hears every payload sent to it, in order, and none of another channel."""
    heard = {name: asyncio.Queue() for name in ("a1", "a2", "b")}
    await database.listen("a", heard["a1"].put_nowait)
    await database.listen("a", heard["a2"].put_nowait)
    await database.listen("b", heard["b"].put_nowait)
    for n in range(10):
        await database.fetchval("select pg_notify('a', $1)", str(n))
    await database.fetchval("select pg_notify('b', $1)", "end")
    assert await heard["b"].get() == "end"
    for name in ("a1", "a2"):
        assert [heard[name].get_nowait() for _ in range(10)] == [str(n) for n in range(10)]
        assert heard[name].empty()


async def test_nothing_is_heard_of_a_transaction_that_was_rolled_back(database):
    """A notification belongs to its transaction."""
    heard = asyncio.Queue()
    await database.listen("a", heard.put_nowait)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  the block is what is tested
        async with database.transaction() as connection:
            await connection.execute("select pg_notify('a', 'never')")
            raise ZeroDivisionError
    await database.fetchval("select pg_notify('a', 'then')")
    assert await heard.get() == "then"


async def test_a_closed_one_hears_no_more_and_the_others_go_on(database):
    """Closing ends one callback; the channel ends with the last."""
    first, second, mark = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    listening = await database.listen("a", first.put_nowait)
    other = await database.listen("a", second.put_nowait)
    await database.listen("mark", mark.put_nowait)
    await listening.close()
    await listening.close()
    await database.fetchval("select pg_notify('a', '1')")
    assert await second.get() == "1"
    await other.close()
    await database.fetchval("select pg_notify('a', '2')")
    await database.fetchval("select pg_notify('mark', '')")
    await mark.get()
    assert first.empty()
    assert second.empty()
    again = await database.listen("a", first.put_nowait)
    await database.fetchval("select pg_notify('a', '3')")
    assert await first.get() == "3"
    await again.close()


async def test_a_failing_callback_harms_no_other(database):
    """The callbacks behind one that raised are called, and so is it the next time."""
    heard = asyncio.Queue()

    def fails(_):
        heard.put_nowait("failing")
        raise ValueError

    await database.listen("a", fails)
    await database.listen("a", heard.put_nowait)
    for payload in ("1", "2"):
        await database.fetchval("select pg_notify('a', $1)", payload)
    assert [await heard.get() for _ in range(4)] == ["failing", "1", "failing", "2"]


async def test_a_connection_cut_by_the_server_is_renewed(database, postgres_url):
    """When the server ends the listening connection, callbacks are told to look for themselves, then hear on."""
    heard = asyncio.Queue()
    await database.listen("a", heard.put_nowait)
    name = await database.fetchval("select current_database()::text")
    administrator = await asyncpg.connect(postgres_url)
    assert await administrator.fetchval(_CUT, name) == 1
    await administrator.close()
    async with asyncio.timeout(60):
        assert await heard.get() == ""
        await database.fetchval("select pg_notify('a', 'on')")
        assert await heard.get() == "on"


async def test_services_of_a_process_listen_on_one_connection(databases):
    """What one of them stops, or its end, leaves the others' callbacks; the last takes the connection with it."""
    heard, last, listeners = asyncio.Queue(), asyncio.Queue(), Listeners()
    count = "select count(*) from pg_stat_activity where application_name = 'stylobate-listener' and datname = current_database()"
    async with databases.fresh("shop") as url, DatabaseManager.open(url, service="shop") as asking:
        async with DatabaseManager.open(url, service="shop", listeners=listeners) as first:
            async with DatabaseManager.open(url, service="shop", listeners=listeners) as second:
                await first.listen("a", heard.put_nowait)
                await second.listen("a", last.put_nowait)
                assert await asking.fetchval(count) == 1
                await asking.fetchval("select pg_notify('a', '1')")
                assert (await heard.get(), await last.get()) == ("1", "1")
            await asking.fetchval("select pg_notify('a', '2')")
            assert await heard.get() == "2"
        await until(lambda: asking.fetchval(f"{count} having count(*) = 0"), lambda left: left == 0)
