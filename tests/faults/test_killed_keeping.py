"""An operator's work on stored objects while the state service is killed: begun anew, it ends as if nobody had been killed.

Each kind of work is held up in its middle, at a row that the test has locked, and the process is killed -9 there. What its
statement did up to then is taken back, or is committed after all once the row is free.
"""

import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent
from typing import Any

import asyncpg
import httpx
import pytest
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.people import PASSWORD, Person

WITHIN = timedelta(seconds=60)
FILES = {
    "module.yaml": "name: papers\n",
    "states.yaml": """\
        namespaces:
          papers:
            schema: { type: object, required: [n], properties: { n: { type: integer } } }
            access: { read: public, list: public, delete: public }
            indexes:
              - { fields: [n], unique: true }
          drafts:
            access: { create: authenticated, read: owner }
            on_owner_deleted: delete
        """,
    "module.py": """\
        from pathlib import Path

        from stylobate.modules import BaseModule


        class Papers(BaseModule):
            async def delete_user(self, ctx, user_id):
                with Path(__file__).with_name("forgotten.txt").open("a") as file:
                    print(user_id, file=file)

            def higher(self, data, from_version):
                return {"n": data["n"] + 1_000_000}
        """,
}
CHANGED = "schema_version: 2\n    upgrade: higher\n    history: 1\n    schema:"
HOLD = "insert into state.state select * from jsonb_populate_record(null::state.state, $1::jsonb)"
EVENT = "select from state.outbox_event where stream = 'papers' and subject = $1 and version = {} for update"


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Run a process for each service; data beyond the newest version is not kept any longer than it takes."""
    folder = tmp_path / "modules" / "papers"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(dedent(text), encoding="utf-8")
    with Platform.run(tmp_path, "--split", environ={"STYLOBATE_STATE_HISTORY_GRACE": "0s"}) as running:
        yield running


class Work:
    """A command that runs beside the test."""

    def __init__(self, platform: Platform, *arguments: str) -> None:
        self._platform, self._arguments = platform, arguments
        self._done: list[CompletedProcess[str]] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._done.append(self._platform.command("states", *self._arguments))

    def ended(self) -> CompletedProcess[str]:
        """Return how it ended."""
        self._thread.join(WITHIN.total_seconds())
        return self._done[0]


@asynccontextmanager
async def database(platform: Platform) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection to what the platform stores."""
    server = EmbeddedPostgres(platform.project.data / "postgres", platform.project.run)
    connection = await asyncpg.connect(server.url)
    try:
        yield connection
    finally:
        await connection.close()


async def killed_at(platform: Platform, lock: str, *args: Any, work: tuple[str, ...], is_behind: bool = False) -> None:
    """Kill state while work waits for what the statement locks; that is free then, and the platform well again.

    :param is_behind: whether it is not the command that waits, but what the service does by itself after it.
    """
    async with database(platform) as connection, database(platform) as looking:
        held = connection.transaction()
        await held.start()
        await connection.execute(lock, *args)
        begun = Work(platform, *work)
        if is_behind:
            assert begun.ended().returncode == 0
        waits = "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))"
        await until(lambda: looking.fetchval(waits, connection.get_server_pid()), within_s=WITHIN.total_seconds())
        platform.kill("state")
        if not is_behind:
            assert begun.ended().returncode != 0
        await held.rollback()
    platform.wait_healthy(WITHIN)


async def stored(platform: Platform) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
    """Return the living objects, and all that ever happened: key, version, what, whether its data was taken away."""
    async with database(platform) as connection:
        objects = await connection.fetch("select key, version, data, schema_version from state.state where deleted_at is null")
        events = await connection.fetch(
            "select subject, version, type, data ? 'forgotten' as is_forgotten, count(*) from state.outbox_event "
            "where stream = 'papers' group by 1, 2, 3, 4"
        )
        entries = await connection.fetchval("select count(*) from state.state_entry")
    assert entries == len(objects)
    found = {row["key"]: (row["version"], json.loads(row["data"])["n"], row["schema_version"]) for row in objects}
    return found, sorted((*row[:2], row["type"].rpartition(".")[2], *row[3:]) for row in events)


async def take_in(platform: Platform, keys: list[str]) -> None:
    """Take in objects of these keys, with a kill in the middle; all are there after a second time, and were made once."""
    file = platform.project.folder / "papers.jsonl"
    file.write_text("".join(f'{{"key": "{key}", "data": {{"n": {int(key)}}}, "owner": "ada"}}\n' for key in keys))
    work = ("import", "papers", str(file))
    held = {"tenant": "default", "namespace": "papers", "key": middle_of(keys), "version": 1, "status": "", "data": {"n": -1}}
    about = {"owner": "x", "first_version": 1, "created_at": "2030-01-01", "updated_at": "2030-01-01", "schema_version": 1}
    await killed_at(platform, HOLD, json.dumps(held | about), work=work)
    again = platform.command("states", *work)
    assert (again.returncode, "there already" in again.stdout) == (0, True), again
    assert not again.stdout.startswith(f"papers: {len(keys)} objects written")  # some had been taken in before
    objects, events = await stored(platform)
    assert objects == {key: (1, int(key), 1) for key in keys}
    assert events == [(key, 1, "created", False, 1) for key in keys]


async def erase(platform: Platform, key: str, version: int) -> None:
    """Delete the object, which has this version then, and erase what it held, with a kill in the middle."""
    async with httpx.AsyncClient(base_url=platform.gateway, verify=NO_TLS) as http:
        assert (await http.delete(f"/v1/state/papers/{key}")).status_code == 204
    work = ("erase", "papers", key)
    await killed_at(platform, EVENT.format(version), key, work=work)
    assert platform.command("states", *work).returncode == 0


def middle_of(keys: list[str]) -> str:
    """Return the key at which work is held up."""
    return keys[len(keys) // 2]


async def keep(platform: Platform, count: int) -> None:
    """Take in, move, forget and erase this many objects, each with a kill in its middle."""
    keys = [f"{n:05d}" for n in range(count)]
    middle = middle_of(keys)
    await take_in(platform, keys)

    states = platform.project.folder / "modules" / "papers" / "states.yaml"
    states.write_text(states.read_text().replace("schema:", CHANGED, 1))
    platform.stop()  # every process knows the declarations
    platform.start()
    lock = "select from state.state where namespace = 'papers' and key = $1 for update"
    await killed_at(platform, lock, middle, work=("migrate", "papers"))
    objects, _ = await stored(platform)
    assert 0 < sum(version == 2 for version, *_ in objects.values()) < count
    # what is moved has a newer version, and the older ones lose their data: the job that does this is killed at one of them
    await killed_at(platform, EVENT.format(1), keys[-1], work=("migrate", "papers"), is_behind=True)
    moved = {key: (2, int(key) + 1_000_000, 2) for key in keys}
    ends = [event for key in keys for event in ((key, 1, "created", True, 1), (key, 2, "migrated", False, 1))]
    assert await until(lambda: stored(platform), lambda found: found == (moved, ends), within_s=WITHIN.total_seconds())

    await erase(platform, middle, 3)
    objects, events = await stored(platform)
    assert objects == {key: found for key, found in moved.items() if key != middle}
    erased = [(middle, version, what, True, 1) for version, what in ((1, "created"), (2, "migrated"), (3, "deleted"))]
    assert events == sorted([event for event in ends if event[0] != middle] + erased)


async def delete(platform: Platform) -> None:
    """Delete an account, with a kill of those who do it in the middle: what it wrote goes all the same, and rows stay."""
    with Person(platform.gateway).register() as ada:
        for key in "abc":
            assert ada.http.put(f"/v1/state/drafts/{key}", json={"data": {"by": ada.email}}).status_code == 200
        async with database(platform) as connection, database(platform) as looking:
            held = connection.transaction()
            await held.start()
            await connection.execute("select from state.outbox_event where stream = 'drafts' and subject = 'b' for update")
            assert ada.http.request("DELETE", "/v1/auth/me", json={"password": PASSWORD}).status_code == 202
            waits = "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))"
            await until(lambda: looking.fetchval(waits, connection.get_server_pid()), within_s=WITHIN.total_seconds())
            platform.kill("auth")
            platform.kill("state")
            await held.rollback()
            done = "select exists (select from auth.user_deletion where done_at is not null)"
            await until(lambda: looking.fetchval(done), within_s=WITHIN.total_seconds())
            log = "select subject, version, actor, data::text from state.outbox_event where stream = 'drafts'"
            events = await looking.fetch(log)
        assert sorted(row[:2] for row in events) == [(key, version) for key in "abc" for version in (1, 2)]
        assert not [row for row in events if ada.id in row["data"] or ada.email in row["data"] or row["actor"] == ada.id]
        forgotten = platform.project.folder / "modules" / "papers" / "forgotten.txt"
        assert {*forgotten.read_text().split()} == {ada.id}
        platform.wait_healthy(WITHIN)
        ada.http.headers.pop("authorization")
        ada.register()


async def test_an_import_and_an_erasure_that_are_killed_end_as_if_they_had_not_been(platform: Platform) -> None:
    """Of what is taken in and erased nothing is half or twice, and no entry of an index is left over."""
    keys = [f"{n:05d}" for n in range(20)]
    await take_in(platform, keys)
    await erase(platform, middle_of(keys), 2)
    objects, events = await stored(platform)
    assert objects == {key: (1, int(key), 1) for key in keys if key != middle_of(keys)}
    erased = [(middle_of(keys), version, what, True, 1) for version, what in ((1, "created"), (2, "deleted"))]
    assert events == sorted([(key, 1, "created", False, 1) for key in objects] + erased)


@pytest.mark.soak
async def test_work_that_is_killed_ends_as_if_it_had_not_been(platform: Platform) -> None:
    """Deleting an account, import, move, forgetting, erasing: nothing half or twice, and no entry of an index is left over."""
    await delete(platform)
    await keep(platform, 150)


@pytest.mark.soak
async def test_much_work_that_is_killed_ends_as_if_it_had_not_been(platform: Platform) -> None:
    """The same over many steps of each."""
    await keep(platform, 5000)
