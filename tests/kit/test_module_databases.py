"""``ctx.database``: what a module keeps beside state objects, in a database of its own, on either kind of server."""

from collections.abc import Awaitable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester
from stylobate.testing.until import until

BASKET = '''
import json

from pymongo.errors import DuplicateKeyError
from stylobate.modules import ActionContext, BaseModule


class Basket(BaseModule):
    async def add(self, ctx: ActionContext, sku: str) -> int:
        """Count what somebody wants, once for each call with a key."""
        baskets = ctx.database.collection("basket")
        found = await baskets.find_one_and_update(
            {"_id": ctx.principal.subject, "done": {"$ne": ctx.new_id()}},
            {"$inc": {f"items.{sku}": 1}},
            upsert=True,
            return_document=True,
        )
        return found["items"][sku]

    async def pay(self, ctx: ActionContext, fails: bool) -> int:
        """Take stock and write an order, together or not at all."""

        async def work(session):
            stock, orders = ctx.database.collection("stock"), ctx.database.collection("order")
            await stock.update_one({"_id": "tea"}, {"$inc": {"left": -1}}, upsert=True, session=session)
            await orders.insert_one({"_id": ctx.principal.subject}, session=session)
            if fails:
                ctx.refuse("BASKET_EMPTY", "There is nothing to pay.")
            return 1

        try:
            return await ctx.database.transact(work)
        except DuplicateKeyError:
            ctx.refuse("BASKET_PAID", "It is paid already.")

    async def counted(self, ctx: ActionContext) -> dict:
        names = ("basket", "stock", "order")
        return {name: await ctx.database.reader.collection(name).count_documents({}) for name in names}

    async def put(self, ctx: ActionContext, stock: dict) -> None:
        await ctx.database.collection("stock").insert_one(stock)

    async def takes(self, ctx: ActionContext, name: str) -> None:
        ctx.database.collection(name)

    async def asks_sql(self, ctx: ActionContext) -> None:
        await ctx.database.fetch("select 1")

    async def dawdles(self, ctx: ActionContext) -> None:
        """Count all combinations of four among 300 documents, which takes far longer than the call may."""
        stock = ctx.database.collection("stock")
        await stock.insert_many([{"_id": number} for number in range(300)])
        beside = [{"$lookup": {"from": "stock", "pipeline": [], "as": "other"}}, {"$unwind": "$other"}]
        await (await stock.aggregate([*beside, *beside, *beside, {"$count": "number"}])).to_list()

    async def dawdles_within(self, ctx: ActionContext) -> None:
        import asyncio

        async def work(session):
            await ctx.database.collection("stock").insert_one({"_id": "held", "left": 1}, session=session)
            await asyncio.sleep(60)

        await ctx.database.transact(work)
'''
STOCK = """[
  {"create": "stock", "validator": {"$jsonSchema": {"bsonType": "object", "properties": {"left": {"bsonType": "int"}}}}},
  {"create": "order"},
  {"createIndexes": "stock", "indexes": [{"key": {"left": 1}, "name": "stock_left"}]}
]"""
LEDGER = """
from stylobate.modules import ActionContext, BaseModule


class Ledger(BaseModule):
    async def add(self, ctx: ActionContext, cents: int) -> int:
        async with ctx.database.transaction() as connection:
            await connection.execute("insert into entry (id, cents) values ($1, $2)", ctx.new_id(), cents)
            if cents < 0:
                ctx.refuse("LEDGER_NEGATIVE", "Nothing is taken out.")
        return await ctx.database.fetchval("select sum(cents)::int from entry")

    async def writes_to_the_reader(self, ctx: ActionContext) -> None:
        await ctx.database.reader.execute("delete from entry")

    async def reaches_out(self, ctx: ActionContext) -> None:
        await ctx.database.fetch("select * from actions.run")

    async def where(self, ctx: ActionContext) -> list:
        row = await ctx.database.fetchrow("select current_schema() as schema, current_user as role")
        return [row["schema"], row["role"], len(await ctx.database.reader.fetch("select * from entry"))]

    async def asks_mongodb(self, ctx: ActionContext) -> None:
        ctx.database.collection("entry")
"""


def write(folder: Path, name: str, kind: str, code: str, migrations: dict[str, str], *actions: str) -> Path:
    """Write a module and return its folder."""
    at = folder / name
    at.mkdir(parents=True)
    (at / "module.yaml").write_text(f"name: {name}\nversion: '1'\ndatabase: {kind}\n" if kind else f"name: {name}\n")
    lines = [f"  {name}.{action}: {{ handler: {action}, access: public, timeout: 500ms }}" for action in actions]
    (at / "actions.yaml").write_text("\n".join(["actions:", *lines]) + "\n")
    (at / "module.py").write_text(dedent(code))
    for file, text in migrations.items():
        (at / file).parent.mkdir(parents=True, exist_ok=True)
        (at / file).write_text(text)
    return at


@pytest.fixture
def basket(tmp_path: Path) -> Path:
    """Give a module with collections of its own."""
    actions = ("add", "pay", "counted", "put", "takes", "asks_sql", "dawdles", "dawdles_within")
    return write(tmp_path, "basket", "mongodb", BASKET, {"migrations/mongodb/0001_stock.json": STOCK}, *actions)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """Give a module with tables of its own."""
    table = "create table entry (id text primary key, cents int not null)"
    actions = ("add", "writes_to_the_reader", "reaches_out", "where", "asks_mongodb")
    return write(tmp_path, "ledger", "postgresql", LEDGER, {"migrations/0001_entries.sql": table}, *actions)


async def refusal(call: Awaitable[Any]) -> str:
    """Return the reason that a call is refused with."""
    with pytest.raises(StylobateError) as refused:
        await call
    return refused.value.reason


async def test_a_module_has_collections_of_its_own(basket: Path, mongo_url: str) -> None:
    """They are written, read, and changed together in a transaction; migrations made them; what is there is gone afterwards."""
    async with ActionTester.open(basket, databases={"basket": mongo_url}) as tester:
        ada, bob = tester.user("ada"), tester.user("bob")
        assert [await ada.call("basket.add", "tea"), await ada.call("basket.add", "tea")] == [1, 2]
        assert await bob.call("basket.add", "tea") == 1
        assert await refusal(ada.call("basket.pay", True)) == "BASKET_EMPTY"
        assert await ada.call("basket.counted") == {"basket": 2, "stock": 0, "order": 0}
        assert await ada.call("basket.pay", False) == 1
        assert await refusal(ada.call("basket.pay", False)) == "BASKET_PAID"
        assert await ada.call("basket.counted") == {"basket": 2, "stock": 1, "order": 1}
        assert await refusal(ada.call("basket.put", {"_id": "x", "left": "many"})) == "ACTION_FAILED"  # the validator
    async with ActionTester.open(basket, databases={"basket": mongo_url}) as tester:
        assert await tester.user("ada").call("basket.counted") == {"basket": 0, "stock": 0, "order": 0}


@pytest.mark.parametrize("name", ["migration", "migration_lock", "signal", "system.views"])
async def test_what_the_platform_keeps_there_is_not_the_modules(basket: Path, mongo_url: str, name: str) -> None:
    """Collections that say what was applied are refused by name."""
    async with ActionTester.open(basket, databases={"basket": mongo_url}) as tester:
        assert await refusal(tester.user("ada").call("basket.takes", name)) == "ACTION_FAILED"


async def test_what_a_handler_asks_ends_at_its_deadline(basket: Path, mongo_url: str) -> None:
    """A statement that takes longer is broken off in the server too, and a transaction that was left holds up nobody."""
    async with ActionTester.open(basket, databases={"basket": mongo_url}) as tester, AsyncMongoClient(mongo_url) as client:
        ada = tester.user("ada")
        assert await refusal(ada.call("basket.dawdles")) == "ACTION_TIMEOUT"

        async def is_over() -> bool:
            doing = await client.admin.command("currentOp")
            return not [one for one in doing["inprog"] if one.get("ns", "").endswith("module_basket.stock")]

        await until(is_over, within_s=20)
        assert await refusal(ada.call("basket.dawdles_within")) == "ACTION_TIMEOUT"

        async def is_free() -> bool:
            doing = await client.admin.command({"currentOp": True, "$all": True})
            return not [one for one in doing["inprog"] if "transaction" in one and "module_basket" in str(one)]

        await until(is_free, within_s=20)
        await ada.call("basket.put", {"_id": "held", "left": 1})


async def test_an_outage_is_told_as_one(basket: Path, mongo_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the driver raises while the server is away is the platform's error to callers, with the time to come again."""
    (basket / "module.py").write_text(
        dedent("""
        from pymongo.errors import AutoReconnect
        from stylobate.modules import ActionContext, BaseModule


        class Basket(BaseModule):
            async def add(self, ctx: ActionContext) -> None:
                raise AutoReconnect("connection closed")
        """)
    )
    (basket / "actions.yaml").write_text("actions:\n  basket.add: { handler: add, access: public }\n")
    async with ActionTester.open(basket, databases={"basket": mongo_url}) as tester:
        with pytest.raises(StylobateError) as refused:
            await tester.user("ada").call("basket.add")
    assert refused.value.reason == "DATABASE_UNAVAILABLE"
    assert refused.value.retry_after


async def test_a_module_has_tables_of_its_own(ledger: Path, postgres_url: str) -> None:
    """In its own schema and role, with a reader that writes nothing; other schemas are not its own."""
    async with ActionTester.open(ledger, databases={"ledger": postgres_url}) as tester:
        ada = tester.user("ada")
        assert await ada.call("ledger.add", 5) == 5
        assert await refusal(ada.call("ledger.add", -5)) == "LEDGER_NEGATIVE"
        assert await ada.call("ledger.add", 7) == 12
        assert await ada.call("ledger.where") == ["module_ledger", "stylobate_module_ledger", 2]
        assert await refusal(ada.call("ledger.writes_to_the_reader")) == "ACTION_FAILED"
        assert await refusal(ada.call("ledger.reaches_out")) == "ACTION_FAILED"


async def test_the_other_kind_is_refused(basket: Path, ledger: Path, mongo_url: str, postgres_url: str) -> None:
    """A module that asks SQL of MongoDB or the other way round has a defect, and the log says which."""
    async with ActionTester.open(basket, ledger, databases={"basket": mongo_url, "ledger": postgres_url}) as tester:
        assert await refusal(tester.user("ada").call("basket.asks_sql")) == "ACTION_FAILED"
        assert await refusal(tester.user("ada").call("ledger.asks_mongodb")) == "ACTION_FAILED"


async def test_a_module_without_a_database_is_told_what_it_lacks(tmp_path: Path) -> None:
    """The sentence names the key of module.yaml."""
    code = """
    from stylobate.modules import ActionContext, BaseModule


    class Bare(BaseModule):
        async def ask(self, ctx: ActionContext) -> str:
            try:
                ctx.database.collection("things")
            except TypeError as error:
                return str(error)
            return ""
    """
    async with ActionTester.open(write(tmp_path, "bare", "", code, {}, "ask")) as tester:
        said = await tester.user("ada").call("bare.ask")
    assert said == "bare declares no `database` in module.yaml, and this takes `database: mongodb`"


async def test_a_tester_without_a_server_says_so(basket: Path) -> None:
    """There is no MongoDB in memory: the test names a real one."""
    with pytest.raises(AssertionError, match="databases="):
        async with ActionTester.open(basket):
            pass


async def test_a_server_of_the_other_kind_is_refused_with_file_and_line(basket: Path, ledger: Path, postgres_url: str) -> None:
    """The module stays out, and the finding says where it is declared and what to set."""
    with pytest.raises(AssertionError) as refused:
        async with ActionTester.open(basket, databases={"basket": postgres_url}):
            pass
    assert (
        f"{basket / 'module.yaml'}:3: `database: mongodb`, and STYLOBATE_ACTIONS_MODULE_DATABASES leads to PostgreSQL: "
        "STYLOBATE_ACTIONS_MODULE_DATABASES gives the module a MongoDB: basket=mongodb://…"
    ) in str(refused.value)


FILES: dict[str, tuple[str, dict[str, str], str]] = {
    "another kind": ("mysql", {}, "module.yaml:3: `database`: `mysql` is neither `postgresql` nor `mongodb` (module.yaml)"),
    "files of the other kind": (
        "mongodb",
        {"migrations/0001_a.sql": "select 1"},
        "migrations/0001_a.sql: is not applied: migrations for `database: mongodb` are migrations/mongodb/0001_what_it_does.json",
    ),
    "a name without a number": ("postgresql", {"migrations/first.sql": ""}, "first.sql: is not named like 0001_what_it_does.sql"),
    "a number twice": (
        "postgresql",
        {"migrations/0001_a.sql": "", "migrations/0001_b.sql": ""},
        "0001_b.sql: has the number of 0001_a.sql",
    ),
    "no database": ("", {"migrations/0001_a.sql": ""}, "migrations: nothing says for which database"),
    "no SQL": ("postgresql", {"migrations/0001_a.sql": "create tabel"}, "module.yaml:3: its database: "),
    "no commands": ("mongodb", {"migrations/mongodb/0001_a.json": '[{"drop": "x"}]'}, "module.yaml:3: its database: "),
}


@pytest.mark.parametrize("case", FILES)
async def test_what_would_not_be_applied_is_refused(tmp_path: Path, mongo_url: str, postgres_url: str, case: str) -> None:
    """With its file: a migration that nobody would run, or that cannot be."""
    kind, files, said = FILES[case]
    module = write(tmp_path, "odd", kind, "from stylobate.modules import BaseModule\n\n\nclass Odd(BaseModule): ...\n", files)
    with pytest.raises(AssertionError) as refused:
        async with ActionTester.open(module, databases={"odd": mongo_url if kind == "mongodb" else postgres_url}):
            pass
    assert said in str(refused.value)
