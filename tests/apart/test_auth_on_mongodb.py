"""Accounts stand in MongoDB and everything else in PostgreSQL: one platform on two kinds of database."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from stylobate.database.mongodb.address import named
from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedServerError
from stylobate.testing.platform import Platform
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.conftest import SHOP
from tests.faults.test_killed_refreshing import SETTINGS, Refreshing
from tests.people import PASSWORD, Person

_URL = "STYLOBATE_AUTH_DATABASE_URL"
_WITHIN = timedelta(seconds=30)
_RACE = 20


class Mongod:
    """A server of a test's own, to be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_ports(1)
        self._thread = ThreadPoolExecutor(max_workers=1)  # a server ends with the thread that started it
        self._server = EmbeddedMongo(folder, self._port)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._server.url

    def start(self) -> None:
        """Let it run."""

        async def up() -> None:
            await self._server.start()
            await self._server.ready()

        self._thread.submit(asyncio.run, up()).result()

    def kill(self) -> None:
        """End it as a crash would."""
        self._server.process.kill()
        self.stop()
        self._server = EmbeddedMongo(self._folder, self._port)

    def stop(self) -> None:
        """End it."""
        self._thread.submit(asyncio.run, self._server.stop()).result()


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[Mongod]:
    """Give one that runs."""
    try:
        made = Mongod(tmp_path / "mongodb")
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def platform(mongo_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform whose accounts are in MongoDB, with two processes."""
    environ = {_URL: named(mongo_url, "apart")}
    with Platform.run(tmp_path_factory.mktemp("documents"), "--workers", "2", modules=[SHOP], environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def root(platform: Platform) -> Iterator[Person]:
    """Give an administrator."""
    with Person(platform.gateway, "root") as root:
        made = platform.command("users", "create", root.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield root.login()


def test_an_account_from_its_first_to_its_last_day(platform: Platform, root: Person) -> None:
    """Registered, used, given a role that counts within a second, exported, disabled and deleted."""
    with Person(platform.gateway) as ada:
        ada.register()
        assert ada.http.post("/v1/auth/register", json={"email": ada.email.upper(), "password": PASSWORD}).status_code == 409
        order = ada.order()
        key = ada.http.post("/v1/api-keys", json={"name": "import", "scopes": ["owner"]}).json()["key"]
        with httpx.Client(base_url=platform.gateway, headers={"x-api-key": key}) as machine:
            assert machine.get(f"/v1/state/orders/{order}").status_code == 200
        assert root.http.put("/v1/roles/helper", json={"permissions": ["users:read"]}).status_code == 200
        assert ada.http.get("/v1/users").status_code == 403
        assert root.http.put(f"/v1/users/{ada.id}/roles/helper", json={}).status_code == 200
        assert wait_until(lambda: ada.http.get("/v1/users").status_code == 200, _WITHIN)
        assert root.http.get("/v1/users", params={"email": ada.email, "role": "helper"}).json()["items"][0]["id"] == ada.id
        changed = {"current_password": PASSWORD, "new_password": f"{PASSWORD} 2"}
        assert ada.http.post("/v1/auth/password/change", json=changed).status_code == 204
        assert ada.http.post("/v1/auth/login", json={"email": ada.email, "password": PASSWORD}).status_code == 401
        export = root.http.get(f"/v1/users/{ada.id}/export").json()
        assert export["complete"]
        assert {one["name"] for one in export["sections"] if one["source"] == "auth"} >= {
            "account",
            "roles",
            "sessions",
            "api_keys",
        }
        assert root.http.post(f"/v1/users/{ada.id}/disable").status_code == 204
        assert wait_until(lambda: ada.http.get("/v1/auth/me").status_code == 401, _WITHIN)
        assert root.http.delete(f"/v1/users/{ada.id}").status_code == 202
        assert wait_until(lambda: root.http.get(f"/v1/users/{ada.id}").json()["status"] == "deleted", _WITHIN)
        assert ada.http.post("/v1/auth/register", json={"email": ada.email, "password": PASSWORD}).status_code == 201


def test_a_race_of_refreshes_has_one_next_token(platform: Platform) -> None:
    """Twenty at the same moment, over two processes."""
    with Person(platform.gateway) as ada, ThreadPoolExecutor(_RACE) as pool:
        token = ada.register().refresh_token

        def refresh(_: int) -> httpx.Response:
            return httpx.post(f"{platform.gateway}/v1/auth/refresh", json={"refresh_token": token}, timeout=60)

        answers = [*pool.map(refresh, range(_RACE))]
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["refresh_token"] for answer in answers}) == 1


@pytest.mark.soak
def test_nobody_loses_a_session_when_mongod_is_killed(mongod: Mongod, tmp_path: Path) -> None:
    """People refresh and log in while it is killed with -9, again and again; each goes on with the token that it has."""
    with Platform.run(tmp_path / "app", modules=[SHOP], environ=SETTINGS | {_URL: mongod.url}) as platform:
        everybody, stopping = [], threading.Event()
        for _ in range(4):
            with Person(platform.gateway) as person:
                everybody.append(Refreshing(person.register()))

        def has_gone_on() -> bool:
            before = [one.done for one in everybody]
            return wait_until(lambda: all(one.done > was + 5 for one, was in zip(everybody, before, strict=True)), _WITHIN)

        with ThreadPoolExecutor(len(everybody)) as pool:
            at_it = [pool.submit(one.keep_on, platform.gateway, stopping) for one in everybody]
            for _ in range(3):
                assert has_gone_on(), [one.refused for one in everybody]
                mongod.kill()
                mongod.start()
            is_back = has_gone_on()
            stopping.set()
            for one in at_it:
                one.result()
        assert [one.refused for one in everybody] == [[]] * len(everybody)
        assert is_back
        for token in [token for one in everybody for token in one.logins]:
            answer = httpx.post(f"{platform.gateway}/v1/auth/refresh", json={"refresh_token": token}, timeout=60)
            assert answer.status_code == 200, answer.text
