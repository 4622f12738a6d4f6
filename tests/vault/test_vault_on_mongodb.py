"""The whole platform on a MongoDB that asks who comes, with all that it knows from Vault, exchanged while fifty a second ask."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import installed_services, key_holders
from stylobate.testing.mongo_users import MongoWithUsers
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until
from stylobate.testing.vault import VaultServer

from tests.conftest import SHOP
from tests.people import PASSWORD

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
SERVICES = ("actions", "auth", "ratelimit", "realtime", "state")
THAT_USE_IT = tuple(name for name in SERVICES if name != "realtime")
"""The services that have their database open."""
SOON_S = 90.0
EVERY_S = 0.02
PEOPLE = 25
AFTERWARDS = 100
"""How many more are answered after each exchange."""
ORDER = {"items": [{"sku": "tea", "quantity": 1}]}
Change = Callable[[], Awaitable[None]]


class Exchanged:
    """The platform with its Vault and its MongoDB, and what callers are told meanwhile."""

    def __init__(self, mongo: MongoWithUsers, vault: VaultServer, folder: Path) -> None:
        self._mongo, self._vault = mongo, vault
        self.user = self.password = "first"
        self.answers: Counter[str] = Counter()
        self.platform: Platform
        self._folder = folder
        generate_service_keys(folder / "keys", key_holders())

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have it run, all services apart; nothing of the database but where it is stands in the environment."""
        await self.make_user("first", "first")
        self.tell("first", "first")
        keys = self._folder / "keys"
        self._vault.put("shop/identity", **{name: (keys / f"{name}.pub.pem").read_text() for name in key_holders()})
        for name in installed_services():
            self._vault.put(f"shop/{name}", identity_key=(keys / f"{name}.pem").read_text())
        environ = self._vault.environment("shop") | {
            "STYLOBATE_DATABASE_URL": self._mongo.url("nobody", "unknown", "shop"),
            "STYLOBATE_VAULT_REQUIRED": "database_url",
            "STYLOBATE_VAULT_REFRESH": "1s",
            "STYLOBATE_VAULT_IDENTITY": "true",
            "STYLOBATE_IDENTITY_FOLDER": str(keys),
            "STYLOBATE_AUTH_TRANSIT_KEY": "stylobate",
            "STYLOBATE_STATE_TRANSIT_KEY": "stylobate",
            "STYLOBATE_AUTH_LOGIN_IP": "100000/minute",
            "STYLOBATE_AUTH_LOGIN_ACCOUNT": "100000/minute",
            "STYLOBATE_AUTH_REGISTER_IP": "100000/minute",
        }
        self.platform = Platform(self._folder / "platform", "--split", modules=(SHOP,), environ=environ)
        try:
            await asyncio.to_thread(self.platform.start)
            yield
        finally:
            await asyncio.to_thread(self.platform.stop)

    async def make_user(self, name: str, password: str) -> None:
        """Make a user who may work in the services' databases."""
        roles = [{"role": role, "db": f"shop_{service}"} for service in SERVICES for role in ("readWrite", "dbAdmin")]
        await self._mongo.command("createUser", name, pwd=password, roles=roles)

    def tell(self, user: str, password: str) -> None:
        """Write a login to Vault."""
        self._vault.put("shop/shared", database_url=self._mongo.url(user, password, "shop"))

    def logged(self, event: str) -> dict[str, int]:
        """Return how often each service with a database has logged an event."""
        logs = self.platform.project.logs
        return {name: (logs / f"{name}.log").read_text(errors="replace").count(event) for name in THAT_USE_IT}

    async def taken(self, change: Change, event: str = "setting_taken", who: tuple[str, ...] = THAT_USE_IT) -> None:
        """Change something, and wait until services say that they have it."""
        before = self.logged(event)
        await change()
        await until(
            lambda: [name for name in who if self.logged(event)[name] == before[name]], lambda left: not left, within_s=SOON_S
        )

    async def healthy(self) -> None:
        """Wait until all is well."""
        await until(
            lambda: asyncio.to_thread(self.platform.status), lambda found: found.get("status") == "healthy", within_s=SOON_S
        )

    async def goes_on(self) -> None:
        """Wait until some more are answered."""
        seen = self.answers.total()
        await until(self.answers.total, lambda now: now > seen + AFTERWARDS, within_s=SOON_S)

    # what is exchanged

    async def password_in_vault_first(self) -> None:
        """Write another password to Vault, then change it at the server."""
        await self.taken(lambda: asyncio.to_thread(self.tell, "first", "second"), "setting_not_taken")
        await self.taken(lambda: self._password("second"))

    async def password_at_the_server_first(self) -> None:
        """Go the other way round: who needs a connection in between waits for the new one."""

        async def change() -> None:
            await self._password("third")
            self.tell("first", "third")

        await self.taken(change)

    async def another_user(self) -> None:
        """Write another user to Vault, and take the former one away."""
        await self.make_user("other", "other")
        await self.taken(lambda: asyncio.to_thread(self.tell, "other", "other"))
        await self._mongo.command("dropUser", "first")

    async def transit(self) -> None:
        """Make another version of the key that seals keys."""
        await self.taken(lambda: asyncio.to_thread(self._vault.rotate, "stylobate"), "data_keys_resealed", ("auth",))

    async def sealed(self) -> None:
        """Seal Vault, and unseal it."""
        await asyncio.to_thread(self._vault.seal)
        await until(
            lambda: asyncio.to_thread(self.platform.status), lambda found: found.get("status") == "degraded", within_s=SOON_S
        )
        await asyncio.to_thread(self._vault.unseal)
        await self.healthy()

    async def killed(self) -> None:
        """Kill Vault, and start it again."""
        os.kill(self._vault.server.process.pid, signal.SIGKILL)
        await until(
            lambda: asyncio.to_thread(self.platform.status), lambda found: found.get("status") == "degraded", within_s=SOON_S
        )
        await self._vault.server.stop()
        await self._vault.server.start()
        await self._vault.server.ready()
        await self.healthy()

    async def _password(self, password: str) -> None:
        await self._mongo.command("updateUser", "first", pwd=password)


async def test_nobody_notices(tmp_path: Path) -> None:
    """Logins, orders and reads, fifty a second, and none fails, while each secret is exchanged and Vault goes and comes."""
    (tmp_path / "vault").mkdir()
    vault = VaultServer(tmp_path / "vault", is_durable=True)
    async with MongoWithUsers.run(tmp_path) as mongo:
        await vault.server.start()
        try:
            await vault.server.ready()
            found = Exchanged(mongo, vault, tmp_path)
            async with found.running(), httpx.AsyncClient(base_url=found.platform.gateway, verify=NO_TLS, timeout=30) as client:
                people = [await register(client, number) for number in range(PEOPLE)]
                over = asyncio.Event()
                loading = asyncio.create_task(load(client, people, found.answers, over))
                for exchange in (
                    found.password_in_vault_first,
                    found.password_at_the_server_first,
                    found.another_user,
                    found.transit,
                    found.sealed,
                    found.killed,
                ):
                    before = found.answers.total()
                    await exchange()
                    await found.goes_on()
                    assert not [one for one in found.answers if not one.endswith(" 200")], (exchange.__name__, found.answers)
                    print(f"{exchange.__name__}: {found.answers.total() - before} requests")  # noqa: T201  for who runs it
                over.set()
                await loading
                assert not [one for one in found.answers if not one.endswith(" 200")], found.answers
                print(found.answers)  # noqa: T201
        finally:
            await vault.server.stop()


async def register(client: httpx.AsyncClient, number: int) -> tuple[dict[str, str], dict[str, str]]:
    """Make an account; return what it logs in with, and the headers of its calls."""
    person = {"email": f"person-{number}@example.com", "password": PASSWORD}
    assert (await client.post("/v1/auth/register", json=person)).status_code == 201
    token = (await client.post("/v1/auth/login", json=person)).json()["access_token"]
    return person, {"authorization": f"Bearer {token}"}


async def load(
    client: httpx.AsyncClient, people: list[tuple[dict[str, str], dict[str, str]]], answers: Counter[str], over: asyncio.Event
) -> None:
    """Ask fifty times a second; every tenth is a login, every tenth an order."""

    async def ask(number: int) -> None:
        person, headers = people[number // 10 % len(people)]
        match number % 10:
            case 0:
                found = await client.post("/v1/auth/login", json=person)
            case 5:
                found = await client.post("/v1/actions/shop.place_order", json=ORDER, headers=headers)
            case _:
                found = await client.get(("/v1/auth/me", "/v1/state/orders")[number % 2], headers=headers)
        answers[f"{found.request.url.path} {found.status_code}"] += 1

    async with asyncio.TaskGroup() as group:
        number = 0
        while not over.is_set():
            group.create_task(ask(number := number + 1))
            await asyncio.sleep(EVERY_S)
