"""`stylobate keys reencrypt` beside the traffic: what was stored in the clear is encrypted, and the rest with another key."""

import asyncio
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import asyncpg
import pytest
from stylobate.launcher.embedded import EmbeddedPostgres, postgres
from stylobate.testing import commands
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.e2e.test_secrets import database
from tests.people import Person

STATES = """\
    namespaces:
      people:
        schema: { type: object, properties: { ssn: { type: string }, name: { type: string } } }
        access: { read: owner, list: owner, create: authenticated, write: owner }
        events: { data: [before, delta] }
        encrypted_fields: [ssn]
    """
SSN = "078-05-1120"
PLAIN = "plain-ssn"
ACCOUNTS = """
insert into auth.account (tenant, id, email, email_key, display_name, password_hash, created_at)
select 'default', gen_random_uuid(), 'old' || n || '@example.com', 'old' || n || '@example.com', 'Old One', '', now()
from generate_series(1, 300) n
"""
OBJECT = """
insert into state.state (tenant, namespace, key, version, first_version, status, data, owner, created_at, updated_at)
select tenant, namespace, 'old', 1, 1, status, '{"ssn": "plain-ssn"}', owner, created_at, updated_at
from state.state where key = '1'
"""

EVENT = """
update state.outbox_event set data = jsonb_set(data, '{data,ssn}', '"plain-ssn"') where subject = '2'
"""


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Run a platform with a module that encrypts a field."""
    folder = tmp_path / "modules" / "desk"
    folder.mkdir(parents=True)
    (folder / "module.yaml").write_text("name: desk\n", encoding="utf-8")
    (folder / "states.yaml").write_text(dedent(STATES), encoding="utf-8")
    with Platform.run(tmp_path, environ={"STYLOBATE_AUTH_LOGIN_ACCOUNT": "1000/second"}) as running:
        yield running


class Logins:
    """Somebody who logs in again and again."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._is_over = threading.Event()
        self._faults: list[BaseException] = []
        self.count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.wait(0.2):
            try:
                self._person.login()
                self.count += 1
            except AssertionError as fault:
                self._faults.append(fault)

    def ended(self) -> list[BaseException]:
        """Stop, and return what failed."""
        self._is_over.set()
        self._thread.join()
        return self._faults


def _started(platform: Platform) -> commands.Command:
    folder, environ = platform.project.folder, platform._environ
    with (folder / "reencrypt.out").open("ab") as output, Path("/dev/null").open("rb") as nothing:
        return commands.start("keys", "reencrypt", folder=folder, environ=environ, streams=(nothing, output, output))


async def _killed_at(platform: Platform, connection: asyncpg.Connection, looking: asyncpg.Connection, lock: str) -> None:
    """Begin, and kill -9 the command while a row is locked that it has to write."""
    held = connection.transaction()
    await held.start()
    await connection.execute(lock)
    command = _started(platform)
    waits = "select exists (select from pg_stat_activity where $1 = any (pg_blocking_pids(pid)))"
    await until(lambda: looking.fetchval(waits, connection.get_server_pid()), within_s=60)
    command.send_signal(signal.SIGKILL)
    assert await asyncio.to_thread(command.wait, 30) == -signal.SIGKILL
    await held.rollback()


async def test_everything_is_encrypted_anew_though_the_command_is_killed(platform: Platform) -> None:
    """Killed -9 twice, in the middle of the accounts and of the log, it ends in a whole; no login fails meanwhile."""
    connection, looking = await database(platform), await database(platform)
    with Person(platform.gateway) as ada, Person(platform.gateway, "eve") as eve:
        ada.register()
        eve.register()
        for key in ("1", "2"):
            for ssn in (SSN, f"{SSN}-{key}"):
                assert ada.http.put(f"/v1/state/people/{key}", json={"data": {"ssn": ssn, "name": key}}).status_code < 300
        await connection.execute(ACCOUNTS)
        await connection.execute(OBJECT)
        await connection.execute(EVENT)
        logins = Logins(eve)
        await _killed_at(platform, connection, looking, "select from auth.account where email = 'old200@example.com' for update")
        await _killed_at(platform, connection, looking, "select from state.outbox_event where subject = '2' for update")
        done = await asyncio.to_thread(platform.command, "keys", "reencrypt")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "people: 7 looked at, " in done.stdout
        assert logins.ended() == []
        assert logins.count > 3
        status = platform.command("keys", "status").stdout
        current = {line.split()[0]: line.split()[2] for line in status.splitlines() if line.endswith("seals")}
        assert [line.split()[1] for line in status.splitlines() if line.startswith("state/people")] == ["1", "2"], status
        assert sum(line.endswith("opens") for line in status.splitlines()) == 0, status
        texts = "\n".join(
            [
                *(row[0] for row in await looking.fetch("select t::text from auth.account t")),
                *(row[0] for row in await looking.fetch("select data::text from state.state")),
                *(row[0] for row in await looking.fetch("select data::text from state.outbox_event where stream = 'people'")),
            ]
        )
        assert "@example.com" not in texts
        assert "Old One" not in texts
        assert SSN not in texts
        assert PLAIN not in texts
        keys = {part.split(".")[2] for part in texts.replace('"', " ").replace(",", " ").split() if part.startswith("sealed.1.")}
        assert keys <= {current["auth/accounts"], current["state/people"]}
        assert ada.http.get("/v1/state/people/old").json()["data"] == {"ssn": PLAIN}
        shown = ada.http.get("/v1/state/people/1/history").json()["items"]
        assert [entry["data"]["ssn"] for entry in shown] == [f"{SSN}-1", SSN]
        dump = _dump(platform)
        assert b"sealed.1." in dump
        for needle in (ada.email, SSN, PLAIN, "Old One"):
            assert needle.encode() not in dump, needle
    await connection.close()
    await looking.close()


def _dump(platform: Platform) -> bytes:
    """Return what pg_dump makes of the database."""
    server = EmbeddedPostgres(platform.project.data / "postgres", platform.project.run)
    return subprocess.run([postgres.programs() / "pg_dump", server.url], check=True, capture_output=True).stdout
