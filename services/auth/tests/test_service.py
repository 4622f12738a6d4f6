"""The whole service as ``main.py`` builds it, called through the local channel, on real servers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stylobate.api.auth.v1 import access_service_pb2 as access
from stylobate.api.auth.v1 import api_key_service_pb2 as keys
from stylobate.api.auth.v1 import auth_service_pb2 as auth
from stylobate.api.auth.v1 import token_service_pb2 as token
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.api.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.api.events.v1.event_service_pb2 import START_EARLIEST, ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.app import HostSettings, Placement
from stylobate.app.host import Host
from stylobate.config import Sources
from stylobate.errors import StylobateError
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.launcher.embedded import EmbeddedPostgres, run_folder
from stylobate.outbox import Event
from stylobate.services import installed_services, key_holders
from stylobate.testing.cluster import give_empty_cluster
from stylobate.testing.until import until

PASSWORD = "correct horse battery staple"
NOWHERE = "unix:///nonexistent/redis.sock"


class Service:
    """A running auth with stubs on the gateway's channel, and of others where only they may call."""

    def __init__(self, host: Host, caller: ServiceIdentity, operator: ServiceIdentity, reader: ServiceIdentity) -> None:
        channel = host.channel("auth", caller)
        self.operator: Any = AuthServiceStub(host.channel("auth", operator))
        self.host = host
        self.accounts: Any = AuthServiceStub(channel)
        self.tokens: Any = TokenServiceStub(channel)
        self.access: Any = AccessServiceStub(channel)
        self.keys: Any = ApiKeyServiceStub(channel)
        self.events: Any = EventServiceStub(host.channel("auth", reader))

    async def login(self, email: str = "ada@example.com") -> Any:
        """Register and log in."""
        await self.accounts.RegisterUser(auth.RegisterUserRequest(email=email, password=PASSWORD, display_name="Ada"))
        return await self.accounts.LoginUser(auth.LoginUserRequest(email=email, password=PASSWORD))


def _bearer(tokens: Any) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {tokens.access_token}"),)}


@asynccontextmanager
async def _service(folder: Path, database_url: str, redis_url: str, **environ: str) -> AsyncIterator[Service]:
    keys = folder / "identity"
    generate_service_keys(keys, key_holders())
    values = {
        "STYLOBATE_DATABASE_URL": database_url,
        "STYLOBATE_REDIS_URL": redis_url,
        "STYLOBATE_IDENTITY_FOLDER": str(keys),
        "STYLOBATE_AUTH_SIGNING_KEY": "k" * 40,
        "STYLOBATE_AUTH_ARGON2_MEMORY_KIB": "8",
        "STYLOBATE_MODULES": str(folder / "modules"),
        "STYLOBATE_DRAIN_WAIT": "0s",
        "STYLOBATE_DRAIN_GRACE": "1s",
    } | environ
    (folder / "modules").mkdir(exist_ok=True)
    sources = Sources(environ=values, folders=())
    nowhere = {name: f"unix:///nonexistent/{name}.sock" for name in ("ratelimit", "state", "actions")}
    placement = Placement(services=("auth",), addresses=nowhere)
    async with Host.open(installed_services(), placement, HostSettings.load(sources), sources) as host:
        names = ("gateway", "cli", "actions")
        yield Service(host, *(ServiceIdentity.load(name, keys / f"{name}.pem", keys) for name in names))


@pytest.fixture
async def empty_database(databases: Any) -> AsyncIterator[str]:
    """Return the address of a database that the service migrates itself."""
    async with databases.fresh("auth") as url:
        yield url


@pytest.fixture
async def service(tmp_path: Path, empty_database: str, redis_url: str) -> AsyncIterator[Service]:
    """Return the service on an empty database."""
    async with _service(tmp_path, empty_database, redis_url) as service:
        yield service


async def _reason(call: Any) -> str:
    try:
        await call
    except StylobateError as error:
        return error.reason
    return ""


async def _until(refused: str, call: Callable[[], Any]) -> None:
    await until(lambda: _reason(call()), lambda reason: reason == refused)


async def test_the_life_of_a_session(service: Service) -> None:
    """Register, log in, ask who I am, refresh, log out; afterwards both tokens are refused."""
    login = await service.login()
    assert (login.user.email, list(login.user.roles)) == ("ada@example.com", ["user"])
    assert login.tokens.expires_in.seconds == 600
    me = await service.accounts.GetMe(auth.GetMeRequest(), **_bearer(login.tokens))
    assert me.user == login.user
    request = auth.RefreshSessionRequest(refresh_token=login.tokens.refresh_token)
    refreshed = await service.accounts.RefreshSession(request)
    assert refreshed.user == login.user
    await service.accounts.LogoutSession(auth.LogoutSessionRequest(), **_bearer(refreshed.tokens))
    for tokens in (login.tokens, refreshed.tokens):
        await _until("TOKEN_REVOKED", lambda t=tokens: service.accounts.GetMe(auth.GetMeRequest(), **_bearer(t)))
    request = auth.RefreshSessionRequest(refresh_token=refreshed.tokens.refresh_token)
    assert await _reason(service.accounts.RefreshSession(request)) == "AUTH_REFRESH_INVALID"


async def test_the_life_of_an_api_key(service: Service) -> None:
    """Made with a token, verified, no key to manage others with, refused once it is revoked; a part of it is none."""
    login = await service.login()
    made = await service.keys.CreateApiKey(keys.CreateApiKeyRequest(name="a", scopes=["*"]), **_bearer(login.tokens))

    def ask(key: str) -> Any:
        return service.keys.ListApiKeys(keys.ListApiKeysRequest(), **_key(key))

    assert await _reason(ask(made.key)) == "API_KEY_NOT_ENOUGH"
    await service.keys.RevokeApiKey(keys.RevokeApiKeyRequest(id=made.api_key.id), **_bearer(login.tokens))
    await _until("API_KEY_REVOKED", lambda: ask(made.key))
    assert await _reason(ask(made.key[:-1])) == "API_KEY_INVALID"


def _key(key: str) -> dict[str, Any]:
    return {"metadata": (("authorization", f"Bearer {key}"),)}


async def test_twenty_refreshes_of_one_token(service: Service, empty_database: str) -> None:
    """All get the one next token and an access token that works; the old one, a little later, ends the session for all."""
    login = await service.login()
    request = auth.RefreshSessionRequest(refresh_token=login.tokens.refresh_token)
    answers = [one.tokens for one in await asyncio.gather(*(service.accounts.RefreshSession(request) for _ in range(20)))]
    assert len({tokens.refresh_token for tokens in answers}) == 1
    for tokens in answers:
        assert await _reason(service.accounts.GetMe(auth.GetMeRequest(), **_bearer(tokens))) == ""
    connection = await asyncpg.connect(empty_database)
    try:
        await connection.execute("update auth.refresh_token set used_at = used_at - interval '6 s' where used_at is not null")
    finally:
        await connection.close()
    assert await _reason(service.accounts.RefreshSession(request)) == "AUTH_REFRESH_REUSED"
    for tokens in (login.tokens, *answers):
        await _until("TOKEN_REVOKED", lambda tokens=tokens: service.accounts.GetMe(auth.GetMeRequest(), **_bearer(tokens)))
    newest = auth.RefreshSessionRequest(refresh_token=answers[0].refresh_token)
    assert await _reason(service.accounts.RefreshSession(newest)) == "AUTH_REFRESH_INVALID"


async def test_errors_cross_the_border_whole(service: Service) -> None:
    """Reason, code and findings arrive at the caller."""
    await service.login()
    again = auth.RegisterUserRequest(email="ADA@example.com", password=PASSWORD)
    assert await _reason(service.accounts.RegisterUser(again)) == "AUTH_EMAIL_TAKEN"
    wrong = auth.LoginUserRequest(email="ada@example.com", password="wrong password")
    assert await _reason(service.accounts.LoginUser(wrong)) == "AUTH_INVALID_CREDENTIALS"
    with pytest.raises(StylobateError) as refused:
        await service.accounts.RegisterUser(auth.RegisterUserRequest(email="junk", password="x"))
    assert refused.value.reason == "AUTH_INVALID_INPUT"
    assert [violation.pointer for violation in refused.value.violations] == ["/email", "/password"]
    assert await _reason(service.accounts.GetMe(auth.GetMeRequest())) == "SERVICE_NOT_ALLOWED"  # the gateway has no account


async def test_methods_are_as_open_as_they_say(service: Service) -> None:
    """What is for services refuses a user; who I am wants a user; keys are for all."""
    login = await service.login()
    outside = service.host._local  # no service's token goes with its calls
    tokens: Any = TokenServiceStub(outside)
    accounts: Any = AuthServiceStub(outside)
    assert (await tokens.GetJwks(token.GetJwksRequest())).jwks
    with pytest.raises(Exception, match="PERMISSION_DENIED"):
        await tokens.ListRevocations(token.ListRevocationsRequest(), **_bearer(login.tokens))
    request = auth.CreateUserRequest(email="x@example.com", password=PASSWORD)
    with pytest.raises(Exception, match="UNAUTHENTICATED"):
        await accounts.CreateUser(request)
    with pytest.raises(Exception, match="PERMISSION_DENIED"):
        await accounts.CreateUser(request, **_bearer(login.tokens))


async def test_a_service_creates_an_administrator_who_may_everything(service: Service) -> None:
    """The first account with rights comes from the command line; access checks know it at once."""
    request = auth.CreateUserRequest(email="root@example.com", password=PASSWORD, roles=["admin"])
    assert await _reason(service.accounts.CreateUser(request)) == "SERVICE_NOT_ALLOWED"
    admin = (await service.operator.CreateUser(request)).user
    assert list(admin.roles) == ["admin", "user"]
    user = (await service.login()).user
    checks = [access.AccessCheck(subject=who.id, permission="any:thing") for who in (admin, user)]
    answer = await service.access.CheckAccess(access.CheckAccessRequest(checks=checks))
    assert list(answer.allowed) == [True, False]


async def test_the_stream_begins_with_the_list(service: Service) -> None:
    """A process that starts after a logout is told of it first."""
    login = await service.login()
    await service.accounts.LogoutSession(auth.LogoutSessionRequest(), **_bearer(login.tokens))
    call = service.tokens.WatchRevocations(token.WatchRevocationsRequest())
    async with asyncio.timeout(30):
        first = await anext(aiter(call))
    call.cancel()
    (entry,) = first.revocations
    assert (first.complete, entry.kind, entry.tenant) == (True, token.REVOCATION_KIND_SESSION, "default")


async def test_events_reach_readers_of_the_log(service: Service) -> None:
    """What happened to an account is published in order, under its id."""
    login = await service.login()
    await service.accounts.LogoutSession(auth.LogoutSessionRequest(), **_bearer(login.tokens))
    request = ReadEventsRequest(source="auth", types=["auth.*.*"], start=START_EARLIEST)
    seen: list[Event] = []
    call = service.events.ReadEvents(request)
    async with asyncio.timeout(30):
        async for message in call:
            seen += [Event.parse(logged.event) for logged in message.events]
            if len(seen) == 3:
                break
    call.cancel()
    assert [event.type for event in seen] == ["auth.user.registered", "auth.session.opened", "auth.session.ended"]
    assert {event.subject for event in seen} == {login.user.id}


async def test_two_processes_tell_each_other(tmp_path: Path, empty_database: str, redis_url: str) -> None:
    """A logout in one auth process reaches tokens verified by the other."""
    async with (
        _service(tmp_path, empty_database, redis_url) as one,
        _service(tmp_path, empty_database, redis_url) as other,
    ):
        login = await one.login()
        await other.accounts.GetMe(auth.GetMeRequest(), **_bearer(login.tokens))
        await one.accounts.LogoutSession(auth.LogoutSessionRequest(), **_bearer(login.tokens))
        verifier = other.host.verifier
        await _until("TOKEN_REVOKED", lambda: verifier.verify(login.tokens.access_token))


async def test_redis_is_not_needed(tmp_path: Path, empty_database: str) -> None:
    """Without Redis everything works: register, login, refresh, logout, revocation."""
    async with _service(tmp_path, empty_database, NOWHERE) as service:
        login = await service.login()
        await service.accounts.GetMe(auth.GetMeRequest(), **_bearer(login.tokens))
        request = auth.RefreshSessionRequest(refresh_token=login.tokens.refresh_token)
        refreshed = await service.accounts.RefreshSession(request)
        await service.accounts.LogoutSession(auth.LogoutSessionRequest(), **_bearer(refreshed.tokens))
        call = lambda: service.accounts.GetMe(auth.GetMeRequest(), **_bearer(refreshed.tokens))  # noqa: E731  one use
        await _until("TOKEN_REVOKED", call)


async def test_without_the_database_tokens_still_verify(tmp_path: Path, redis_url: str) -> None:
    """Register, login, refresh say DATABASE_UNAVAILABLE; a verified token holds; all is well when it is back."""
    run = run_folder(tmp_path)
    give_empty_cluster(tmp_path / "data")
    server = EmbeddedPostgres(tmp_path / "data", run, options={"fsync": "off"})
    await server.start()
    await server.ready()
    try:
        async with _service(tmp_path, server.url, redis_url) as service:
            login = await service.login()
            await server.stop()
            new = auth.RegisterUserRequest(email="new@example.com", password=PASSWORD)
            old = auth.LoginUserRequest(email="ada@example.com", password=PASSWORD)
            refresh = auth.RefreshSessionRequest(refresh_token=login.tokens.refresh_token)
            for call in (
                service.accounts.RegisterUser(new),
                service.accounts.LoginUser(old),
                service.accounts.RefreshSession(refresh),
            ):
                assert await _reason(call) == "DATABASE_UNAVAILABLE"
            assert (await service.host.verifier.verify(login.tokens.access_token)).id == login.user.id
            await server.start()
            await server.ready()
            await until(lambda: _reason(service.accounts.LoginUser(old)), lambda found: not found, within_s=60)
            assert (await service.accounts.RefreshSession(refresh)).tokens.refresh_token
    finally:
        await server.stop()


async def test_registration_is_closed_outside_development(tmp_path: Path, empty_database: str, redis_url: str) -> None:
    """In production nobody registers unless somebody said so; existing accounts log in."""
    async with _service(tmp_path, empty_database, redis_url, STYLOBATE_AUTH_REGISTRATION="closed") as service:
        request = auth.RegisterUserRequest(email="ada@example.com", password=PASSWORD)
        assert await _reason(service.accounts.RegisterUser(request)) == "REGISTRATION_CLOSED"
