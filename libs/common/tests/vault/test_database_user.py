"""Users of the database that Vault makes for a time: pools change over before the time is over, and nobody notices."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest
from stylobate.config import ConfigError, Settings, Sources
from stylobate.database import DatabaseManager, MigrationSet, Migrator
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until
from stylobate.value_kinds import DatabaseUrl
from stylobate.vault.client import VaultClient
from stylobate.vault.database_user import DatabaseUser
from stylobate.vault.manager import VaultManager


class ShopSettings(Settings):
    """Settings that name further databases, for these tests."""

    service: ClassVar[str] = "shop"
    logins: ClassVar[Mapping[str, str]] = {"databases": "vault_database_roles"}

    databases: Mapping[str, DatabaseUrl] = {}
    vault_database_roles: Mapping[str, str] = {}


_OFTEN = {"refresh": timedelta(seconds=1)}
_GROUP = """
do $$ begin create role app nologin; exception when duplicate_object then null; end $$; grant stylobate_state to app
"""


@pytest.fixture
async def engine(vault, postgres_url, database_for):
    """Give the URL of a database, and a role of Vault whose users take the services' roles there for 2 s, at most 4 s."""
    database = await database_for("state", MigrationSet.of("encryption"))
    name = await database.fetchval("select current_database()")
    owner = urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
    await _as_owner(owner, _GROUP)
    query = parse_qs(urlsplit(owner).query)
    vault.database("brief", host=query["host"][0], name=name, port=query.get("port", ["5432"])[0], ttl="2s", most="4s")
    return owner


async def _as_owner(url, statement):
    connection = await asyncpg.connect(url)
    try:
        return (
            await connection.fetch(statement) if statement.lstrip().startswith("select") else await connection.execute(statement)
        )
    finally:
        await connection.close()


def _sources(vault, owner, role="brief", **other):
    manager = VaultManager(vault.options("database", database_role=role, **_OFTEN, **other))
    return manager, Sources({"STYLOBATE_DATABASE_URL": owner}, (), None, manager.secrets)


@pytest.mark.soak
async def test_users_change_and_no_statement_fails(vault, engine) -> None:
    """A user is renewed, and replaced before its end; what works with the pool meanwhile never hears of it."""
    manager, sources = _sources(vault, engine)
    settings, resolved = Settings.resolve(sources)
    origin = next(found.origin for found in resolved if found.name == "database_url")
    assert origin == f"environment STYLOBATE_DATABASE_URL, user of vault database/creds/brief at {vault.url}"
    assert urlsplit(settings.database_url).username.startswith("v-")
    shown = next(found.value for found in resolved if found.name == "database_url")
    assert urlsplit(settings.database_url).password not in shown
    users, failed, done = set(), [], []
    async with (
        manager.open(),
        DatabaseManager.open(settings.database_url, service="state", refused=manager.look_soon) as database,
    ):

        async def take() -> str:
            url = Settings.load(sources).database_url
            await database.use(url)
            users.add(urlsplit(url).username)
            return ""

        manager.on_change(take)

        async def work() -> None:
            while True:
                try:
                    async with database.transaction() as connection:
                        assert await connection.fetchval("select current_user") == "stylobate_state"
                        await connection.execute("update data_key set replaced_at = null")
                    done.append(True)
                except Exception as error:  # noqa: BLE001  told below
                    failed.append(error)
                await asyncio.sleep(0.01)

        working = [asyncio.create_task(work()) for _ in range(4)]
        await until(lambda: len(users) >= 3, within_s=30)
        vault.end_logins()  # and with the login every user that it was given
        ended = len(users)
        await until(lambda: len(users) > ended, within_s=30)
        for one in working:
            one.cancel()
    assert failed == []
    assert len(done) > 100


async def test_migrations_belong_to_the_service(vault, engine) -> None:
    """What a user of Vault migrates belongs to the role of the service, so the user can be removed."""
    _, sources = _sources(vault, engine)
    url = Settings.load(sources).database_url
    sets = [MigrationSet.of("encryption"), MigrationSet.of("idempotency")]
    assert await Migrator(url, "state", sets).upgrade()
    rows = await _as_owner(engine, "select distinct tableowner from pg_tables where schemaname = 'state'")
    assert [row[0] for row in rows] == ["stylobate_state"]
    user = urlsplit(url).username
    vault.end_logins()
    gone = f"select 1 from pg_roles where rolname = '{user}'"
    await until(lambda: _as_owner(engine, gone), lambda rows: not rows)


async def test_a_user_that_the_server_refuses_is_replaced(vault, engine) -> None:
    """Whatever Vault says of its lease: somebody changed it in the database. Once a minute, for the cause may be another."""
    place = urlsplit(engine)
    query = parse_qs(place.query)
    named = {"host": query["host"][0], "name": place.path[1:], "port": query.get("port", ["5432"])[0]}
    vault.database("steady", **named, ttl="60s", most="600s")
    now = 0.0
    user = DatabaseUser(VaultClient(vault.options("database")), "steady", "", lambda: now)
    first = user.for_url(engine)
    await _as_owner(engine, f'alter role "{urlsplit(first).username}" nologin')
    users = [first]
    for now in (1.0, 59.0, 61.0, 62.0, 119.0, 122.0):  # noqa: B007  the clock
        user.doubt()
        await asyncio.to_thread(user.look)
        users.append(user.for_url(engine))
    assert [*map(users.index, users)] == [0, 0, 0, 3, 3, 3, 6]
    await (await asyncpg.connect(users[-1])).close()


async def test_further_databases_have_users_by_roles_of_their_own(vault, engine) -> None:
    """One database by this role, one by that, one as its URL says; each user is replaced by itself."""
    place = urlsplit(engine)
    query = parse_qs(place.query)
    named = {"host": query["host"][0], "name": place.path[1:], "port": query.get("port", ["5432"])[0]}
    vault.database("slow", **named, ttl="60s", most="600s")
    manager = VaultManager(vault.options("database", **_OFTEN))
    environ = {
        "STYLOBATE_SHOP_DATABASES": f"one={engine} two={engine} three={engine}",
        "STYLOBATE_SHOP_VAULT_DATABASE_ROLES": "one=brief two=slow",
    }
    sources = Sources(environ, (), None, manager.secrets)
    settings, resolved = ShopSettings.resolve(sources)
    users = {name: urlsplit(url).username for name, url in settings.databases.items()}
    assert [*map(str.startswith, users.values(), ("v-", "v-", "stylobate"))] == [True] * 3
    assert users["one"] != users["two"]
    await (await asyncpg.connect(settings.databases["two"])).close()
    origin = next(found.origin for found in resolved if found.name == "databases")
    made = ", ".join(
        f"user of {name} of vault database/creds/{role} at {vault.url}" for name, role in (("one", "brief"), ("two", "slow"))
    )
    assert origin == f"environment STYLOBATE_SHOP_DATABASES, {made}"

    def other() -> dict[str, str | None]:
        return {name: urlsplit(url).username for name, url in ShopSettings.load(sources).databases.items()}

    async with manager.open():
        found = await until(other, lambda found: found["one"] != users["one"], within_s=10)
    assert found | {"one": ""} == users | {"one": ""}


def test_roles_of_further_databases_need_a_vault_and_are_said_by_their_setting(vault, engine) -> None:
    """Without a Vault nobody would make these users; a role that is not there is named with the setting that names it."""
    setting = "STYLOBATE_SHOP_VAULT_DATABASE_ROLES"
    environ = {"STYLOBATE_SHOP_DATABASES": f"one={engine}", setting: "one=none"}
    with pytest.raises(ConfigError, match=f"{setting}: needs STYLOBATE_VAULT_ADDRESS"):
        ShopSettings.load(Sources(environ, ()))
    manager = VaultManager(vault.options("database"))
    with pytest.raises(ConfigError, match=f"{setting}: vault database/creds/none at .*: unknown role: none"):
        ShopSettings.load(Sources(environ, (), None, manager.secrets))


def test_without_a_user_nothing_starts(vault, engine) -> None:
    """Vault away, a role that is not there, a policy that says no: one line with the place, and never the user of the URL."""
    nobody = f"http://127.0.0.1:{free_ports(1)}"
    for options, said in (
        ({"role": "none"}, "database/creds/none at .*: unknown role: none"),
        ({"database_mount": "others"}, "others/creds/brief: permission denied"),
        ({"address": nobody}, "does not answer"),
    ):
        _, sources = _sources(vault, engine, **options)
        with pytest.raises(ConfigError, match=f"STYLOBATE_VAULT_DATABASE_ROLE: vault .*{said}"):
            Settings.load(sources)
