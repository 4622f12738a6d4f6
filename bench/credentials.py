"""P22: API keys and access tokens: verified for the first time and again, and refused once they are revoked.

First: a verifier that remembers one credential only asks auth about each key, through the batching call, the interceptors and the
servicer that a gateway in the same process uses, and auth asks PostgreSQL. Again: a look into what a verifier remembers, and into
a deny-list that is not empty. Of revocations :mod:`.revocations` tells.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import cycle, islice
from random import Random
from statistics import median
from time import perf_counter, process_time
from typing import NamedTuple
from uuid import UUID

import psutil
import uvloop
from stylobate.api.auth.v1.token_service_pb2_grpc import add_TokenServiceServicer_to_server
from stylobate.audit import AuditTrail
from stylobate.audit.postgres import PostgresAuditStore
from stylobate.database import DatabaseManager, Migrator
from stylobate.encryption import SecretKeyEncryption
from stylobate.idempotency.postgres import PostgresIdempotencyLedger
from stylobate.identity import Principal
from stylobate.identity.api_key import SECRET_BYTES, write_api_key
from stylobate.identity.verifier import TokenVerifier
from stylobate.ids import new_id
from stylobate.launcher.embedded import EmbeddedPostgres
from stylobate.outbox.postgres import PostgresOutbox
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers, standard_interceptors
from stylobate.rpc.interceptors import RpcMetrics
from stylobate.testing.logs import plain_logs
from stylobate_auth.access_manager import AccessManager
from stylobate_auth.api_key import revocation_of
from stylobate_auth.api_key_manager import ApiKeyManager
from stylobate_auth.jwt_manager import JWTManager, signing_key
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.model import Account, Session
from stylobate_auth.revocation_manager import RevocationManager
from stylobate_auth.servicer import TokenServicer
from stylobate_auth.signing_key_manager import SigningKeyManager
from stylobate_auth.spec import SPEC
from stylobate_auth.store.postgres import PostgresAuthStore

from bench import revocations
from bench.callers import Services, Users
from bench.processes import Processes, lasting
from bench.report import Report, Target
from bench.servers import embedded

CALLERS = (1, 8, 64)
RATE = 4000
"""Keys a second, where they come by themselves."""
_KEYS = 10_000
_LOOKS = 50_000
_ENDED = 100
"""On the deny-list, so that it is looked at."""
_ENVIRONMENT = "development"
_NOW = datetime.now(UTC)
_ADA = Account("default", new_id(), "ada@example.com", "Ada", ("user",), True, _NOW)
_SESSION = Session("default", new_id(), _ADA.id, _NOW, _NOW + timedelta(days=1), _NOW + timedelta(minutes=10))
_ACCOUNT = """
insert into account (tenant, id, email, email_key, display_name, password_hash, created_at)
values ('default', $1, 'ada@example.com', 'ada@example.com', 'Ada', '', now())
"""
_LOAD = """
insert into api_key (tenant, id, owner_id, name, secret_hash, scopes, allowed_cidrs, created_at)
select 'default', id, $1, 'bench', secret_hash, '{bench:price}', '{}', now()
from unnest($2::uuid[], $3::bytea[]) as one (id, secret_hash)
"""


class _Round(NamedTuple):
    rate: float
    """Keys a second."""
    python_us: float
    postgres_us: float


class _Auth(NamedTuple):
    channel: CallerChannel
    """To auth in this process, in a service's own name."""
    postgres: Processes
    keys: Sequence[str]
    token: str
    """An access token of a session."""


@asynccontextmanager
async def _auth() -> AsyncIterator[_Auth]:
    async with embedded(EmbeddedPostgres) as postgres:
        await Migrator(postgres.url, "auth", SPEC.migrations).upgrade()
        async with (
            DatabaseManager.open(postgres.url, service="auth") as database,
            AuditTrail.open(PostgresAuditStore(database), "auth") as audit,
        ):
            keys = await _keys(database)
            store = PostgresAuthStore(database, PostgresOutbox("auth"), audit, PostgresIdempotencyLedger(database))
            access = AccessManager(store, {}, permissions=["bench:price"], clock=_now)
            revoked = RevocationManager(store, clock=_now)
            async with store.transaction() as transaction:
                for _ in range(_ENDED):
                    await transaction.revoke(revocation_of("default", new_id(), _now()))
            await revoked.look()
            signing = SigningKeyManager(
                store,
                KeyRing(),
                SecretKeyEncryption("s" * 32, purpose="auth.key_encryption"),
                access,
                first=signing_key("s" * 32),
                algorithm="EdDSA",
                every=timedelta(days=90),
                notice=timedelta(minutes=10),
                clock=_now,
            )
            await signing.start()
            manager = ApiKeyManager(store, access, revoked, environment=_ENVIRONMENT, most=_KEYS, clock=_now)
            services = Services()
            servicers = Servicers(standard_interceptors(Users(), services, metrics=RpcMetrics()))
            servicer = TokenServicer(signing, revoked, manager)
            servicers.register(add_TokenServiceServicer_to_server, servicer, TokenServicer.ACCESS)
            server = LocalServer(servicers)
            await server.start()
            token = JWTManager(signing.ring, timedelta(minutes=10)).sign(_ADA, _SESSION, _now())
            process = Processes({"postgres": psutil.Process(postgres.process.pid)})
            yield _Auth(CallerChannel(LocalChannel(server), services.token), process, keys, token)
            await server.stop()


async def _keys(database: DatabaseManager) -> list[str]:
    ids = [new_id() for _ in range(_KEYS)]
    written = [write_api_key(_ENVIRONMENT, one, os.urandom(SECRET_BYTES)) for one in ids]
    await database.execute(_ACCOUNT, UUID(_ADA.id))
    await database.execute(_LOAD, UUID(_ADA.id), [UUID(one) for one in ids], [secret_hash for _, secret_hash in written])
    await database.execute("analyze api_key")
    return [text for text, _ in written]


async def _first(auth: _Auth, seconds: float, *, callers: int) -> _Round:
    """Have each caller show one new key after another."""
    shown = cycle(auth.keys)
    async with TokenVerifier(auth.channel, cache_size=1, environment=_ENVIRONMENT) as verifier:
        await verifier.ready.wait()
        begun, cpu, postgres = perf_counter(), process_time(), auth.postgres.cpu_seconds()["postgres"]

        async def keep_on() -> int:
            done = 0
            while perf_counter() < begun + seconds:
                if (await verifier.verify(next(shown))).id != _ADA.id:
                    raise RuntimeError("a key was taken for another account's")
                done += 1
            return done

        done = sum(await asyncio.gather(*(keep_on() for _ in range(callers))))
        return _Round(
            done / (perf_counter() - begun),
            (process_time() - cpu) / done * 1e6,
            (auth.postgres.cpu_seconds()["postgres"] - postgres) / done * 1e6,
        )


async def _arriving(auth: _Auth, seconds: float) -> _Round:
    """Have new keys come at a rate of their own, at random moments, whatever becomes of those before them."""
    shown, moments = cycle(auth.keys), Random(1)
    async with TokenVerifier(auth.channel, cache_size=1, environment=_ENVIRONMENT) as verifier, asyncio.TaskGroup() as group:
        await verifier.ready.wait()
        begun, cpu, postgres = perf_counter(), process_time(), auth.postgres.cpu_seconds()["postgres"]
        coming, due = list[asyncio.Task[Principal]](), begun
        while due < begun + seconds:
            if due > perf_counter():
                await asyncio.sleep(due - perf_counter())
            coming.append(group.create_task(verifier.verify(next(shown))))
            due += moments.expovariate(RATE)
        found = await asyncio.gather(*coming)
        if any(principal.id != _ADA.id for principal in found):
            raise RuntimeError("a key was taken for another account's")
        return _Round(
            len(found) / (perf_counter() - begun),
            (process_time() - cpu) / len(found) * 1e6,
            (auth.postgres.cpu_seconds()["postgres"] - postgres) / len(found) * 1e6,
        )


async def _again(auth: _Auth) -> dict[str, float]:
    """Return the CPU microseconds of a look at what is remembered: of an API key and of an access token."""
    async with TokenVerifier(auth.channel, environment=_ENVIRONMENT) as verifier:
        await verifier.ready.wait()
        kinds = {"API key": [*islice(auth.keys, 1000)], "access token": [auth.token]}
        for texts in kinds.values():
            await asyncio.gather(*map(verifier.verify, texts))
        return {kind: median([_look(verifier, texts) for _ in range(5)]) for kind, texts in kinds.items()}


def _look(verifier: TokenVerifier, texts: Sequence[str]) -> float:
    chosen = [*islice(cycle(texts), _LOOKS)]
    begun = process_time()
    for text in chosen:
        if verifier.cached(text) is None:
            raise RuntimeError("what was verified is not remembered")
    return (process_time() - begun) / _LOOKS * 1e6


async def _verified(rounds: int, seconds: float) -> tuple[dict[str, list[_Round]], dict[str, float]]:
    ways: dict[str, Callable[[_Auth, float], Awaitable[_Round]]] = {
        f"{count} in flight": partial(_first, callers=count) for count in CALLERS
    }
    ways[f"{RATE:,} a second as they come"] = _arriving
    found: dict[str, list[_Round]] = {way: [] for way in ways}
    async with _auth() as auth:
        for number in range(-1, rounds):  # the first is for warming up
            for way, show in ways.items():
                one = await show(auth, lasting(number, seconds))
                if number >= 0:
                    found[way].append(one)
        return found, await _again(auth)


def measure(rounds: int, seconds: float, ended: int) -> Report:
    """P22.

    :param ended: sessions that are ended one by one, and as many keys.
    """
    plain_logs()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found, again = runner.run(_verified(rounds, seconds))
    delays = revocations.delays(ended)
    columns = ("what", "a second", "Python CPU us each", "PostgreSQL CPU us each", "p50 ms", "p99 ms")
    report = Report("P22", "API keys and access tokens", columns)
    for way, some in found.items():
        middle = [median(getattr(one, column) for one in some) for column in _Round._fields]
        report.rows.append((f"an API key for the first time, {way}", *middle, "", ""))
        each = median(one.python_us + one.postgres_us for one in some)
        if way != f"{CALLERS[0]} in flight":  # a rate is of many
            what = f"API keys for the first time for a second of CPU, {way}"
            report.targets.append(Target(what, 1e6 / each, RATE, at_least=True, unit="/s"))
    for kind, each in again.items():
        report.rows.append((f"an {kind} again", "", each, "", "", ""))
        report.targets.append(Target(f"an {kind} again, CPU", each, 5, unit="us"))
    for kind, times in delays.items():
        last = times[len(times) * 99 // 100]
        report.rows.append((f"from the end of {kind} to its refusal by another process", "", "", "", median(times), last))
        report.targets.append(Target(f"another process refuses {kind} that was ended, p99", last, 1000, unit="ms"))
    report.notes.append(
        f"medians of {rounds} rounds of {seconds} s; {_KEYS:,} keys of one account; {ended} sessions and {ended} keys were ended"
    )
    report.raw = {"first": {way: [one._asdict() for one in some] for way, some in found.items()}}
    report.raw |= {"again_us": again, "delays_ms": delays}
    return report


def _now() -> datetime:
    return datetime.now(UTC)
