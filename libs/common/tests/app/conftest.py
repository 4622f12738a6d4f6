"""Hosts of small services: an auth that has one key and no revocation, and whatever a test builds."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.duration_pb2 import Duration
from jwt.algorithms import OKPAlgorithm
from stylobate.api.auth.v1 import token_service_pb2 as tokens
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceServicer, add_TokenServiceServicer_to_server
from stylobate.app import HostSettings, Placement
from stylobate.app.host import Host
from stylobate.app.manager import AppManager
from stylobate.config import Settings, Sources
from stylobate.identity.service_keys import generate_service_keys
from stylobate.rpc import RpcAccess
from stylobate.services import ServiceSpec
from stylobate.testing.plain_http import NO_TLS


class _Tokens(TokenServiceServicer):
    def __init__(self) -> None:
        key = Ed25519PrivateKey.generate().public_key()
        self._jwk = {**json.loads(OKPAlgorithm.to_jwk(key)), "kid": "one", "alg": "EdDSA", "use": "sig"}

    async def GetJwks(self, request: Any, context: Any) -> tokens.GetJwksResponse:  # noqa: N802
        return tokens.GetJwksResponse(jwks=json.dumps({"keys": [self._jwk]}).encode())

    async def WatchRevocations(self, request: Any, context: Any) -> AsyncIterator[tokens.WatchRevocationsResponse]:  # noqa: N802
        yield tokens.WatchRevocationsResponse(complete=True, age=Duration())
        while True:
            await asyncio.sleep(0.5)
            yield tokens.WatchRevocationsResponse(age=Duration())

    async def ListRevocations(self, request: Any, context: Any) -> tokens.ListRevocationsResponse:  # noqa: N802
        return tokens.ListRevocationsResponse(age=Duration())

    async def VerifyApiKeys(self, request: Any, context: Any) -> tokens.VerifyApiKeysResponse:  # noqa: N802
        return tokens.VerifyApiKeysResponse()


async def _build_auth(app: AppManager, settings: Settings) -> None:
    methods = ("GetJwks", "WatchRevocations", "ListRevocations", "VerifyApiKeys")
    access = dict.fromkeys(methods, RpcAccess.SERVICE) | {"GetJwks": RpcAccess.PUBLIC}
    app.servicer(add_TokenServiceServicer_to_server, _Tokens(), access)


def spec_of(name: str, build: Any) -> ServiceSpec:
    """Return a service of that name."""

    class Own(Settings):
        service: ClassVar[str] = name

    return ServiceSpec(name=name, settings=Own, build=build, http=("/",), needs=("auth", "probe", "other"))


AUTH = spec_of("auth", _build_auth)


class Hosts:
    """Opens hosts that know each other's keys."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self._folder = folder
        self._environ = {
            "STYLOBATE_IDENTITY_FOLDER": str(folder / "identity"),
            "STYLOBATE_MODULES": "",
            "STYLOBATE_DRAIN_WAIT": "0s",
            "STYLOBATE_DRAIN_GRACE": "1s",
            "STYLOBATE_REDIS_URL": redis_url,
        }
        generate_service_keys(folder / "identity", ("auth", "probe", "other"))

    @asynccontextmanager
    async def open(self, *specs: ServiceSpec, environ: Mapping[str, str] = {}, **placement: Any) -> AsyncIterator[Host]:
        """Run a host of these services; an admin socket is at :attr:`admin`."""
        sources = Sources(environ={**self._environ, **environ}, folders=())
        placed = Placement(
            services=tuple(spec.name for spec in specs),
            **{"admin": f"unix:{self.admin}", "http": "127.0.0.1:0", **placement},
        )
        async with Host.open({spec.name: spec for spec in specs}, placed, HostSettings.load(sources), sources) as host:
            yield host

    @property
    def admin(self) -> Path:
        """The admin socket."""
        return self._folder / "admin"

    async def ask(self, path: str, method: str = "GET", **request: Any) -> httpx.Response:
        """Ask the admin listener."""
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(self.admin), verify=NO_TLS), timeout=10
        ) as client:
            return await client.request(method, f"http://admin{path}", **request)


@pytest.fixture
def hosts(server_run: Path, redis_url: str) -> Hosts:
    """Give a way to open hosts; their sockets stand in a folder with a short path."""
    return Hosts(server_run, redis_url)


@pytest.fixture
def auth() -> ServiceSpec:
    """Give the auth that every host needs somewhere."""
    return AUTH


@pytest.fixture
def probe() -> Callable[[Any], ServiceSpec]:
    """Give a way to make a service named `probe` of a build function."""
    return lambda build: spec_of("probe", build)
