"""P15: an indexed query of 20 objects among many, at the StateManager, beside one statement of SQL over a table made for it.

The objects lie in one namespace whose index is (status, total); a query asks for those of one status with at least some total,
the highest first, and for the first twenty; then for the first twenty of some 800 in the order of another field. The other side
is what one would write by hand: a table with a column for each and a b-tree over (status, total), asked by asyncpg on the same
server. One query is under way at a time. Objects are loaded by SQL, with the bytes that the service itself makes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter

import asyncpg
import uvloop
from stylobate.database import DatabaseManager, Migrator
from stylobate.declarations.evaluate import AccessEvaluator
from stylobate.declarations.model import AccessRule, IndexDeclaration, IndexField, NamespaceAccess, NamespaceDeclaration
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.testing.logs import plain_logs
from stylobate_state.filters import Filter
from stylobate_state.index import all_indexes
from stylobate_state.index_encoding import encode
from stylobate_state.namespace import Namespace
from stylobate_state.spec import SPEC
from stylobate_state.state_lister import ListRequest, StateLister
from stylobate_state.store.postgres import PostgresStateStore

from bench.callers import USER, Nobody
from bench.report import Report, Target
from bench.servers import embedded

_STATUSES = ("paid", "pending", "shipped", "cancelled")
_SIZE = 20
_AT_ONCE = 10_000
_TOTALS = 1_000_000
_SORTED = 800
"""How many a query finds, about, that are sorted by what no index has them in the order of."""
_ANYBODY = AccessRule(("authenticated",))
_ORDERS = NamespaceDeclaration(
    name="orders",
    module="bench",
    statuses=_STATUSES,
    access=NamespaceAccess(list=_ANYBODY),
    indexes=(IndexDeclaration((IndexField("status", "text"), IndexField("total", "number"))),),
)
_LOAD = """
insert into state (tenant, namespace, key, version, status, data, owner, first_version, created_at, updated_at)
select $1, 'orders', key, 1, status, jsonb_build_object('total', total, 'items', '[{"sku": "a-1", "quantity": 2}]'::jsonb),
    'ada', 1, now(), now()
from unnest($2::text[], $3::text[], $4::int[], $5::bytea[]) as t (key, status, total, sort)
"""
_ENTER = """
insert into state_entry (index_id, tenant, key, sort, hold)
select (select max(id) from state_index), $1, key, sort, 0
from unnest($2::text[], $3::text[], $4::int[], $5::bytea[]) as t (key, status, total, sort)
"""
_BY_HAND = """
insert into by_hand (key, status, total, data, created_at, updated_at)
select key, status, total, jsonb_build_object('total', total, 'items', '[{"sku": "a-1", "quantity": 2}]'::jsonb), now(), now()
from unnest($1::text[], $2::text[], $3::int[]) as t (key, status, total)
"""
_TABLE = """
create table by_hand (key text primary key, status text, total int, data jsonb, created_at timestamptz, updated_at timestamptz);
create index on by_hand (status, total);
"""
_ASK = """
select key, status, data::text, created_at, updated_at from by_hand
where status = $1 and total >= $2 order by total desc limit 21
"""


async def _load(database: DatabaseManager, first: int, last: int) -> None:
    chance = random.Random(first)
    for start in range(first, last, _AT_ONCE):
        keys = [f"{number:08d}" for number in range(start, min(start + _AT_ONCE, last))]
        statuses = [chance.choice(_STATUSES) for _ in keys]
        totals = [chance.randrange(1, _TOTALS) for _ in keys]
        sorts = [encode(status) + encode(Decimal(total)) for status, total in zip(statuses, totals, strict=True)]
        await asyncio.gather(
            database.execute(_LOAD, USER.tenant, keys, statuses, totals, sorts),
            database.execute(_ENTER, USER.tenant, keys, statuses, totals, sorts),
            database.execute(_BY_HAND, keys, statuses, totals),
        )
    for table in ("state", "state_entry", "by_hand"):
        await database.execute(f"analyze {table}")


async def _times(queries: int, ask: Callable[[str, int], Awaitable[int]]) -> list[float]:
    """Return how long each query took, in milliseconds, sorted. Raises TypeError for one that found too few."""
    chance = random.Random(7)
    times = []
    for number in range(-queries // 10, queries):
        status, total = chance.choice(_STATUSES), chance.randrange(1, 900_000)
        begun = perf_counter()
        found = await ask(status, total)
        if number >= 0:
            times.append((perf_counter() - begun) * 1000)
        if found != _SIZE:
            raise TypeError(f"{found} objects instead of {_SIZE}")
    return sorted(times)


async def _measure(counts: Sequence[int], queries: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    async with embedded(EmbeddedPostgres) as postgres:
        await Migrator(postgres.url, "state", SPEC.migrations).upgrade()
        async with DatabaseManager.open(postgres.url, service="state") as database:
            store = PostgresStateStore(database, PostgresIdempotencyLedger(database))
            await store.declare(all_indexes({_ORDERS.name: _ORDERS}))
            await database.execute(_TABLE)
            lister = StateLister(store, AccessEvaluator(Nobody()))
            namespace = Namespace.of(_ORDERS, [], max_data_bytes=262_144)

            async def ours(status: str, total: int) -> int:
                filters = [Filter("status", "eq", (status,)), Filter("total", "gte", (str(total),))]
                page = await lister.list_states(USER, namespace, ListRequest(filters=filters, sort="-total", size=_SIZE))
                return len(page.items)

            async def sorted_out(status: str, total: int) -> int:
                bounds = {"gte": total, "lt": total + _TOTALS * len(_STATUSES) * _SORTED // loaded}
                filters = [Filter("total", operator, (str(bound),)) for operator, bound in bounds.items()]
                filters.append(Filter("status", "eq", (status,)))
                page = await lister.list_states(USER, namespace, ListRequest(filters=filters, sort="-created_at", size=_SIZE))
                return len(page.items)

            async def by_hand(status: str, total: int) -> int:
                rows: list[asyncpg.Record] = await database.fetch(_ASK, status, total)
                return len(rows[:_SIZE])

            loaded = 0
            for count in counts:
                await _load(database, loaded, count)
                loaded = count
                found[f"{count:,} objects, the manager"] = await _times(queries, ours)
                found[f"{count:,} objects, the manager, out of {_SORTED} by another field"] = await _times(
                    queries // 5, sorted_out
                )
                found[f"{count:,} objects, SQL by hand"] = await _times(queries, by_hand)
    return found


def measure(counts: Sequence[int], queries: int) -> Report:
    """P15.

    :param counts: of objects, rising.
    """
    plain_logs()
    begun = datetime.now(UTC)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_measure(counts, queries))
    report = Report("P15", f"a query of {_SIZE} by an index", ("objects", "p50 ms", "p99 ms"))
    for name, times in found.items():
        report.rows.append((name, times[len(times) // 2], times[len(times) * 99 // 100]))
    ours = [times[len(times) // 2] for name, times in found.items() if name.endswith("manager")]
    report.targets += [
        Target(f"p50 among {counts[-1]:,}", ours[-1], 5.0, unit="ms"),
        Target(f"p50 among {counts[-1]:,} against {counts[0]:,}", ours[-1] / ours[0], 1.5),
    ]
    loading_s = (datetime.now(UTC) - begun).total_seconds()
    report.notes.append(
        f"{queries} queries one after the other, {queries // 5} of those that sort; with loading {loading_s:.0f} s"
    )
    return report
