"""A real Valkey that is stopped, killed and set back under an ephemeral namespace, and a writer that is killed."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from stylobate.errors import DatabaseUnavailableError
from stylobate.health import Status
from stylobate.launcher.embedded import EmbeddedValkey, run_folder
from stylobate.redis import RedisManager
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate_state.model import ListQuery, Refused, Written
from stylobate_state.operation import Put
from stylobate_state.state_manager import StateManager
from stylobate_state.state_writer import Environment
from stylobate_state.store.memory import MemoryStateStore
from stylobate_state.store.redis import RedisStateStore
from stylobate_state.store.router import StoreRouter

from . import ephemeral_writer
from .ephemeral import PADS, TTL, key
from .samples import ADA, NOTES, write
from .test_any_store_contract import claim


@pytest_asyncio.fixture
async def own_valkey(tmp_path: Path) -> AsyncIterator[EmbeddedValkey]:
    """Give a server that this test may kill."""
    run = run_folder(tmp_path)
    server = EmbeddedValkey(tmp_path / "data", run)
    await server.start()
    await server.ready()
    yield server
    await server.stop()
    shutil.rmtree(run, ignore_errors=True)


async def killed(server: EmbeddedValkey) -> None:
    """Kill the server and wait until it is gone."""
    server.process.kill()
    await server.process.wait()


async def again(server: EmbeddedValkey) -> None:
    """Start the server anew."""
    await server.start()
    await server.ready()


async def answers(store: RedisStateStore) -> bool:
    """Whether the store serves."""
    try:
        await store.read([key("a")])
    except DatabaseUnavailableError:
        return False
    return True


async def test_without_valkey_it_says_so_and_the_rest_goes_on(environment: Environment, own_valkey: EmbeddedValkey) -> None:
    """Reads, lists and writes are 503 with a time to come back, health is degraded and says what is away, others are served."""
    async with RedisManager.open(own_valkey.url, command_timeout=timedelta(seconds=30)) as redis:
        store = StoreRouter(MemoryStateStore(FakeClock()), {"pads": RedisStateStore(redis, "pads", TTL)})
        declared = {"pads": PADS, "notes": NOTES}
        async with StateManager.open(declared, replace(environment, store=store), max_data_bytes=10_000) as manager:
            made = await manager.change(ADA, "pads", "a", Put(b"1"), expected=0)
            assert (await manager.health()).status is Status.HEALTHY
            await killed(own_valkey)
            for refused in (
                lambda: manager.get(ADA, [("pads", "a")]),
                lambda: manager.list_states(ADA, "pads"),
                lambda: manager.change(ADA, "pads", "a", Put(b"2"), expected=made.version),
            ):
                with pytest.raises(DatabaseUnavailableError, match="which keeps the ephemeral namespace pads") as said:
                    await refused()
                assert (said.value.http_status, said.value.retry_after) == (503, timedelta(seconds=1))
            health = await manager.health()
            assert health.status is Status.DEGRADED
            assert health.details.startswith("not served: pads: redis ")
            assert (await manager.change(ADA, "notes", "a", Put(b"1"), expected=0)).version == 1

            await again(own_valkey)
            await until(lambda: answers(RedisStateStore(redis, "pads", TTL)))
            assert (await manager.get(ADA, [("pads", "a")]))[0].version == made.version
            assert (await manager.health()).status is Status.HEALTHY


async def test_a_full_server_refuses_whole(own_valkey: EmbeddedValkey) -> None:
    """A change that finds no room is 503 and is not there, in no part and not under its key; it is, once there is room."""
    async with RedisManager.open(own_valkey.url) as redis:
        pads = RedisStateStore(redis, "pads", TTL)
        (first,) = await pads.write([write(key("a"), 0)])
        await redis.call("CONFIG", "SET", "maxmemory", "1")
        group = [write(key("a"), first.version, group=1, claim=claim("k")), write(key("b"), 0, group=1)]
        with pytest.raises(DatabaseUnavailableError):
            await pads.write(group)
        assert {at: state.version for at, state in (await pads.read([key("a"), key("b")])).items()} == {key("a"): first.version}
        await redis.call("CONFIG", "SET", "maxmemory", "0")
        assert [type(outcome) for outcome in await pads.write(group)] == [Written, Written]


async def test_a_server_that_lost_changes_gives_their_versions_to_no_other(own_valkey: EmbeddedValkey, tmp_path: Path) -> None:
    """Set back by a kill: who saw the lost version is refused for good, and what is written next is no version there ever was."""
    saved = tmp_path / "saved"
    async with RedisManager.open(own_valkey.url) as redis:
        pads = RedisStateStore(redis, "pads", TTL)
        (kept,) = await pads.write([write(key("a"), 0, b'"kept"')])
        await redis.call("WAITAOF", 1, 0, 0)
        shutil.copytree(own_valkey.data / "appendonlydir", saved)
        (lost,) = await pads.write([write(key("a"), kept.version, b'"lost"')])
        (later,) = await pads.write(
            [
                write(key("a"), lost.version, b'"lost too"'),
            ]
        )
        (made,) = await pads.write([write(key("b"), 0)])
        await killed(own_valkey)
        shutil.rmtree(own_valkey.data / "appendonlydir")
        shutil.copytree(saved, own_valkey.data / "appendonlydir")
        await again(own_valkey)
        await until(lambda: answers(pads))

        found = await pads.read([key("a"), key("b")])
        assert [(state.version, state.data) for state in found.values()] == [(kept.version, b'"kept"')]
        assert await pads.write([write(key("a"), lost.version)]) == [Refused(kept.version)]
        (next_one,) = await pads.write([write(key("a"), kept.version)])
        assert next_one.version > later.version
        for _ in range(3):
            (next_one,) = await pads.write([write(key("a"), next_one.version)])
            assert await pads.write([write(key("a"), lost.version), write(key("b"), made.version)]) == [
                Refused(next_one.version), Refused(0),
            ]  # fmt: skip
        (anew,) = await pads.write([write(key("b"), 0)])
        assert anew.version > made.version


async def test_nothing_is_half_done_by_a_killed_writer(own_valkey: EmbeddedValkey) -> None:
    """A process is killed while it changes forty objects together: each change is in all of them or in none."""
    async with RedisManager.open(own_valkey.url) as redis:
        pads = RedisStateStore(redis, "pads", TTL)
        await pads.write([write(one, 0, b'{"number": 0}') for one in ephemeral_writer.KEYS])
        for _ in range(3):
            begun = await numbers(pads)
            writer = await asyncio.create_subprocess_exec(sys.executable, ephemeral_writer.__file__, own_valkey.url)
            try:
                await until(lambda begun=begun: _has_moved(pads, begun))
            finally:
                writer.kill()
                await writer.wait()
            await until(lambda: _is_at_rest(redis))
            assert len(await numbers(pads)) == 1
            part = await pads.list_states(ListQuery("default", "pads", 100))
            assert [state.key for state in part.items] == ephemeral_writer.KEYS


async def test_nothing_is_half_done_by_a_killed_server(own_valkey: EmbeddedValkey) -> None:
    """Valkey is killed under the same: what it knows when it is back is whole, and goes on from there."""
    async with RedisManager.open(own_valkey.url) as redis:
        pads = RedisStateStore(redis, "pads", TTL)
        await pads.write([write(one, 0, b'{"number": 0}') for one in ephemeral_writer.KEYS])
        writer = await asyncio.create_subprocess_exec(
            sys.executable, ephemeral_writer.__file__, own_valkey.url, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            begun = await numbers(pads)
            await until(lambda: _has_moved(pads, begun))
            await killed(own_valkey)
        finally:
            await writer.wait()  # it does not send again what it has no answer to
        await again(own_valkey)
        await until(lambda: answers(pads))
        assert len(await numbers(pads)) == 1
        outcomes = await pads.write([write(one, None, group=1) for one in ephemeral_writer.KEYS])
        assert all(isinstance(outcome, Written) for outcome in outcomes)


async def numbers(pads: RedisStateStore) -> set[int]:
    """Return the numbers that the objects say."""
    found = await pads.read(ephemeral_writer.KEYS)
    return {json.loads(state.data)["number"] for state in found.values()}


async def _has_moved(pads: RedisStateStore, begun: set[int]) -> bool:
    return await numbers(pads) != begun


async def _is_at_rest(redis: RedisManager) -> bool:
    """Whether the killed process's connection is gone: nothing of it is still to be done."""
    return len((await redis.call("CLIENT", "LIST", "TYPE", "normal")).splitlines()) == 1
