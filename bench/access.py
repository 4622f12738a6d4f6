"""P21: decisions about single objects, with ever more grants.

One account is granted a permission on objects, one by one, in auth's database. A process asks whether it may, of an object that
it is granted and of one that it is not: for the first time, which asks auth and the database, and again, from memory. Auth is
called in the same process; what a call between processes costs is P8's. After that a grant is taken away at one auth process, and
the time is taken until another one, which hears of it as every verifier does, knows of the change.
"""

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from random import Random
from time import perf_counter, perf_counter_ns
from typing import Any

import uvloop
from stylobate.audit import AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import DatabaseManager, Migrator
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.access import Access
from stylobate.identity.resources import MOST_LISTED
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.outbox.postgres import PostgresOutbox
from stylobate.testing.logs import plain_logs
from stylobate_auth.access_manager import AccessManager
from stylobate_auth.convert import from_checks, to_decisions
from stylobate_auth.grant import Grant
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.spec import SPEC
from stylobate_auth.store.postgres import PostgresAuthStore

from bench.report import Report, Target
from bench.servers import embedded

_ADA = Principal(PrincipalKind.USER, "019f9f3e-2b5c-7cc3-9d2a-5a4b3c2d1e0f")
_SERVICE = Principal(PrincipalKind.SERVICE, "service:state", via="state")
_PERMISSION = "orders:read"
_LOAD = """
insert into resource_grant (tenant, subject, permission, resource, granted_at, granted_by)
select 'default', $1, $2, 'state/orders/' || to_char(n, 'FM00000000'), now(), 'bench' from generate_series($3::int, $4::int - 1) n
"""
_AT_ONCE = 200
"""Decisions that one figure is the mean of: a single one is shorter than the clock tells."""


class _Verifier:
    """Tells when something changed."""

    def __init__(self) -> None:
        self.change: Callable[[], None] = lambda: None

    def on_change(self, callback: Callable[[], None]) -> None:
        self.change = callback


class _Channel:
    """To an auth in this very process."""

    def __init__(self, manager: AccessManager) -> None:
        self._manager = manager

    def unary_unary(self, method: str, **_: Any) -> Any:
        """Return what answers the method."""
        return self._check if method.endswith("/CheckAccess") else None

    async def _check(self, request: Any, **_: Any) -> Any:
        return to_decisions(await self._manager.check(_SERVICE, from_checks(request)))


def _now() -> datetime:
    return datetime.now(UTC)


def _name(number: int) -> str:
    return f"state/orders/{number:08d}"


async def _decisions(access: Access, numbers: Sequence[int], *, expected: bool) -> list[float]:
    """Return the microseconds of a decision from memory, sorted, each the mean of many about one object."""
    times = []
    for number in numbers:
        resource = _name(number)
        await access.allowed(_ADA, _PERMISSION, resource)  # asks auth: the first time is measured apart
        begun = perf_counter_ns()
        for _ in range(_AT_ONCE):
            if await access.allowed(_ADA, _PERMISSION, resource) is not expected:
                raise RuntimeError(f"{resource} was decided wrongly")
        times.append((perf_counter_ns() - begun) / _AT_ONCE / 1000)
    return sorted(times)


async def _first(access: Access, verifier: _Verifier, numbers: Sequence[int]) -> list[float]:
    """Return how many milliseconds a decision takes that must be asked of auth, sorted: the process remembers none."""
    times = []
    for number in numbers:
        verifier.change()
        begun = perf_counter()
        await access.allowed(_ADA, _PERMISSION, _name(number))
        times.append((perf_counter() - begun) * 1000)
    return sorted(times)


async def _delays(stores: Sequence[PostgresAuthStore], rounds: int) -> list[float]:
    """Return the milliseconds from taking a grant away to another auth process knowing of it, sorted."""
    here, there = stores
    listening = RevocationManager(there, clock=_now)
    await listening.look()
    task = asyncio.create_task(listening.run())
    times = []
    await asyncio.sleep(0.5)  # until it listens
    for number in range(rounds):
        version = listening.current().access_version
        begun = perf_counter()
        async with here.transaction() as transaction:
            await transaction.remove_grant(Grant("default", _ADA.id, _PERMISSION, _name(number)))
            await transaction.change_access()
        while listening.current().access_version == version:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.0005)
        times.append((perf_counter() - begun) * 1000)
    task.cancel()
    return sorted(times)


async def _measure(counts: Sequence[int], objects: int) -> tuple[dict[str, tuple[float, ...]], list[float]]:
    found: dict[str, tuple[float, ...]] = {}
    chance, verifier, loaded = Random(7), _Verifier(), 0
    async with embedded(EmbeddedPostgres) as postgres:
        await Migrator(postgres.url, "auth", SPEC.migrations).upgrade()
        async with (
            DatabaseManager.open(postgres.url, service="auth") as database,
            DatabaseManager.open(postgres.url, service="auth") as other,
            AuditTrail.open(PostgresAuditStore(database), "auth") as audit,
        ):
            stores = [
                PostgresAuthStore(one, PostgresOutbox("auth"), audit, PostgresIdempotencyLedger(one)) for one in (database, other)
            ]
            auth: Any = _Channel(AccessManager(stores[0], {}, permissions=[_PERMISSION], clock=_now))
            told: Any = verifier
            async with Access(auth, told) as access:
                for count in counts:
                    await database.execute(_LOAD, _ADA.id, _PERMISSION, loaded, count)
                    await database.execute("analyze resource_grant")
                    loaded = count
                    verifier.change()
                    numbers = [chance.randrange(count) for _ in range(objects)]
                    first = await _first(access, verifier, numbers)
                    granted = await _decisions(access, numbers, expected=True)
                    refused = await _decisions(access, [count + number for number in range(objects)], expected=False)
                    found[f"{count:,}"] = (*(_middle(one) for one in (granted, refused, first)), first[len(first) * 99 // 100])
            delays = await _delays(stores, 50)
    return found, delays


def _middle(times: Sequence[float]) -> float:
    return times[len(times) // 2]


def measure(counts: Sequence[int], objects: int) -> Report:
    """P21.

    :param counts: of grants, rising. :param objects: that are asked about.
    """
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, delays = runner.run(_measure(counts, objects))
    columns = ("grants of the account", "granted, p50 us", "refused, p50 us", "first time, p50 ms", "first time, p99 ms")
    report = Report("P21", "decisions about single objects", columns)
    for count, times in found.items():
        report.rows.append((count, *times))
    (some, *_), (many, *_) = found[f"{counts[1]:,}"], found[f"{counts[-1]:,}"]
    names = frozenset(map(_name, range(MOST_LISTED)))
    each = (sys.getsizeof(names) + sum(map(sys.getsizeof, names))) / MOST_LISTED
    report.targets += [
        Target(f"a decision from memory, p50 among {counts[-1]:,} grants", many, 30.0, unit="us"),
        Target(f"p50 among {counts[-1]:,} against {counts[1]:,}", many / some, 1.5),
        Target("another process knows that a grant was taken away, p99", delays[len(delays) * 99 // 100], 1000.0, unit="ms"),
    ]
    report.notes.append(
        f"a grant that a process remembers takes {each:.0f} bytes, and it remembers 200,000 at most; above {MOST_LISTED:,} of "
        f"one account objects are asked for one by one; another process knew within {_middle(delays):.1f} ms, p50"
    )
    report.raw = {"decisions": found, "delays_ms": delays}
    return report
