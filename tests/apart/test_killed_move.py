"""A move of a namespace while the state service is killed, with two processes of it before and after."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from textwrap import dedent

import asyncpg
import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.apart.conftest import Archive

WITHIN = timedelta(seconds=60)
KEYS = [f"{number:02d}" for number in range(50)]
FILES = {
    "module.yaml": "name: desk\n",
    "states.yaml": """\
        namespaces:
          tickets:
            initial: open
            access: { read: public, list: public, create: public }
            transitions: { close: { from: open, to: closed, access: public } }
            timers: [{ in: open, after: 1h, event: close }]
        """,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a project with a namespace whose objects wait for a timer."""
    module = tmp_path / "modules" / "desk"
    module.mkdir(parents=True)
    for name, text in FILES.items():
        (module / name).write_text(dedent(text), encoding="utf-8")
    return tmp_path


@asynccontextmanager
async def connected(archive: Archive) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to the other database."""
    connection = await asyncpg.connect(archive.url)
    try:
        yield connection
    finally:
        await connection.close()


def run(folder: Path, archive: Archive, **more: str) -> AbstractContextManager[Platform]:
    """Run two processes of each service, which know the other database."""
    environ = {"STYLOBATE_STATE_DATABASES": f"archive={archive.url}"} | more
    return Platform.run(folder, "--split", "--workers", "2", environ=environ, keeps_data=True)


async def test_a_move_that_is_killed_goes_on_and_its_timers_fire_once(folder: Path, archive: Archive) -> None:
    """Killed in mid-step it goes on with who comes next: all is there once; what waited is fired there, once, by one of two."""
    with run(folder, archive) as platform:
        async with httpx.AsyncClient(base_url=platform.gateway, verify=NO_TLS) as http:
            for key in KEYS:
                made = await http.put(f"/v1/state/tickets/{key}", json={"data": {}})
                assert made.status_code == 200, made.text
        move = ("states", "move", "tickets", "archive")
        async with connected(archive) as holding, connected(archive) as looking:
            held = holding.transaction()
            await held.start()
            await holding.execute("select from state.outbox_head for update")  # each step needs it
            moving = asyncio.create_task(asyncio.to_thread(platform.command, *move))
            waits = "select exists (select from pg_stat_activity where cardinality(pg_blocking_pids(pid)) > 0)"
            await until(lambda: looking.fetchval(waits), within_s=WITHIN.total_seconds())
            for name in ("state-0", "state-1"):
                platform.kill(name)
            await held.rollback()
            went_on = await moving  # with those that were begun in their place
            assert went_on.returncode == 0, went_on.stderr
        platform.wait_healthy(WITHIN)
        async with httpx.AsyncClient(base_url=platform.gateway, verify=NO_TLS) as http:

            async def late() -> tuple[int, str]:
                answer = await http.put("/v1/state/tickets/new", json={"data": {}})
                return answer.status_code, answer.json().get("code", "")

            # who lost its connection a moment ago may say so once; nobody is written here since it began
            await until(late, (503, "UNAVAILABLE").__ne__, within_s=WITHIN.total_seconds())
            assert await late() == (503, "STATE_MOVED")
        done = await asyncio.to_thread(platform.command, *move)
        assert (done.returncode, "it stands in archive already" in done.stderr) == (2, True), done.stderr
    async with connected(archive) as there:
        await there.execute("update state.state_timer set due_at = now() where namespace = 'tickets'")  # an hour went by
    with run(folder, archive, STYLOBATE_STATE_PLACES="tickets=archive") as platform:
        count = "select count(*) from state.state where namespace = 'tickets' and status = $1"
        async with connected(archive) as looking:
            await until(lambda: looking.fetchval(count, "closed"), len(KEYS).__eq__, within_s=WITHIN.total_seconds())
            events = await looking.fetch("select subject, version, number from state.outbox_event where stream = 'tickets'")
        assert sorted((row["subject"], row["version"]) for row in events) == [(key, each) for key in KEYS for each in (1, 2)]
        async with httpx.AsyncClient(base_url=platform.gateway, verify=NO_TLS) as http:
            found = (await http.get(f"/v1/state/tickets/{KEYS[0]}")).json()
            assert (found["status"], found["version"], found.get("timers", [])) == ("closed", 2, [])
            assert (await http.put("/v1/state/tickets/new", json={"data": {}})).status_code == 200
