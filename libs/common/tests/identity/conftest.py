"""An authority for tests: keys, tokens of every kind, and a TokenService and AccessService that say what a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from time import monotonic
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from jwt.algorithms import OKPAlgorithm
from stylobate.api.auth.v1 import access_service_pb2, access_service_pb2_grpc, token_service_pb2, token_service_pb2_grpc
from stylobate.api.auth.v1.token_service_pb2 import Revocation, RevocationKind
from stylobate.identity.auth_feed import FeedTimings
from stylobate.identity.verifier import TokenVerifier
from stylobate.rpc import CallerChannel
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until

NOW = 1_800_000_000.0
PATIENCE_S = 60.0


class Clock:
    """Unix seconds that move when told."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Key:
    """A signing key with its id."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = Ed25519PrivateKey.generate()

    def jwk(self) -> dict[str, Any]:
        """Return the public half as a JWK."""
        return {**json.loads(OKPAlgorithm.to_jwk(self.private.public_key())), "kid": self.kid, "alg": "EdDSA", "use": "sig"}

    def sign(self, *, headers: dict[str, Any] | None = None, without: tuple[str, ...] = (), **claims: Any) -> str:
        """Return an access token; claims and headers may be changed, claims left out."""
        body = {
            "iss": "stylobate",
            "aud": "stylobate",
            "sub": "user-1",
            "tenant": "default",
            "sid": "session-1",
            "jti": "token-1",
            "iat": int(NOW),
            "exp": int(NOW) + 600,
            "roles": ["user"],
            "scope": "",
        } | claims
        body = {name: value for name, value in body.items() if name not in without}
        return jwt.encode(body, self.private, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": self.kid} | (headers or {}))


def revocation(kind: RevocationKind, id: str, *, tenant: str = "default", not_before: float = 0.0) -> Revocation:  # noqa: A002  as in the message
    """Return an entry that holds for ten minutes."""
    return Revocation(kind=kind, id=id, tenant=tenant, not_before=_timestamp(not_before), expires_at=_timestamp(NOW + 600))


def _timestamp(seconds: float) -> Timestamp:
    return Timestamp(seconds=int(seconds), nanos=int(seconds % 1 * 1e9))


class TokenService(token_service_pb2_grpc.TokenServiceServicer):
    """Answers from its attributes and counts the calls."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.revocations: list[Revocation] = []
        self.access_version = 1
        self.age_s = 0
        self.jwks_calls = 0
        self.lists = asyncio.Semaphore(0)
        self.watchers: list[asyncio.Queue[token_service_pb2.WatchRevocationsResponse | None]] = []
        self.watched = asyncio.Event()
        self.api_keys: dict[tuple[str, bytes], token_service_pb2.VerifiedApiKey] = {}
        """By id and hash of the secret."""
        self.key_calls = 0
        self.refuses_streams = False
        self.refuses_everything = False

    async def GetJwks(self, request: Any, context: Any) -> Any:  # noqa: N802  the RPC's name
        """Return the keys."""
        self.jwks_calls += 1
        if self.refuses_everything:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        return token_service_pb2.GetJwksResponse(jwks=json.dumps({"keys": [key.jwk() for key in self.keys]}).encode())

    async def ListRevocations(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the list."""
        if self.refuses_everything:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        self.lists.release()
        return token_service_pb2.ListRevocationsResponse(
            revocations=self.revocations, access_version=self.access_version, age=Duration(seconds=self.age_s)
        )

    async def VerifyApiKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return how keys stand."""
        self.key_calls += 1
        unknown = token_service_pb2.VerifiedApiKey(standing=token_service_pb2.API_KEY_STANDING_UNKNOWN)
        found = [self.api_keys.get((proof.id, proof.secret_hash), unknown) for proof in request.proofs]
        return token_service_pb2.VerifyApiKeysResponse(api_keys=found)

    async def WatchRevocations(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send the list, then what :meth:`push` is given; None ends the stream."""
        if self.refuses_streams or self.refuses_everything:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        queue: asyncio.Queue[token_service_pb2.WatchRevocationsResponse | None] = asyncio.Queue()
        self.watchers.append(queue)
        yield token_service_pb2.WatchRevocationsResponse(
            revocations=self.revocations, complete=True, access_version=self.access_version, age=Duration(seconds=self.age_s)
        )
        self.watched.set()
        while (message := await queue.get()) is not None:
            yield message

    def push(self, *revocations: Revocation) -> None:
        """Send entries (or only that the stream lives) to every watcher."""
        message = token_service_pb2.WatchRevocationsResponse(revocations=revocations, access_version=self.access_version)
        for queue in self.watchers:
            queue.put_nowait(message)

    def cut(self) -> None:
        """End every stream."""
        for queue in self.watchers:
            queue.put_nowait(None)
        self.watchers.clear()
        self.watched.clear()


class AccessService(access_service_pb2_grpc.AccessServiceServicer):
    """Grants what stands in :attr:`granted` and keeps the batches it was asked."""

    def __init__(self) -> None:
        self.granted: set[tuple[str, str, str]] = set()
        self.resources: dict[tuple[str, str, str], list[str]] = {}
        """On what each of these is granted; the first hundred are told at once."""
        self.has_grants = True
        """Whether it knows of any: an older release does not."""
        self.batches: list[list[tuple[str, str, str]]] = []
        self.metadata: list[dict[str, Any]] = []
        self.is_down = False

    async def CheckAccess(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer a batch."""
        self.batches.append([(check.tenant, check.subject, check.permission) for check in request.checks])
        self.metadata.append(dict(context.invocation_metadata()))
        if self.is_down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        return access_service_pb2.CheckAccessResponse(
            allowed=[self._allows(check) for check in request.checks],
            granted=[self._granted(check) for check in request.checks] if self.has_grants else [],
        )

    async def ListGranted(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Answer a page."""
        found = self.resources.get((request.tenant, request.subject, request.permission), [])
        found = [name for name in found if name > request.page_token and name.startswith(request.under)]
        more = found[4999] if len(found) > 5000 else ""
        return access_service_pb2.ListGrantedResponse(resources=found[:5000], next_page_token=more)

    def _allows(self, check: Any) -> bool:
        question = (check.tenant, check.subject, check.permission)
        return question in self.granted or (bool(check.resource) and check.resource in self.resources.get(question, ()))

    def _granted(self, check: Any) -> Any:
        question = (check.tenant, check.subject, check.permission)
        found = [] if check.resource or question in self.granted else self.resources.get(question, [])
        return access_service_pb2.GrantedResources(resources=found[:100], more=len(found) > 100)


class Authority:
    """Both services behind one loopback address, with the key and the clock that tokens are made by."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.key = Key("key-1")
        self.tokens = TokenService(self.key)
        self.access = AccessService()
        self.address = ""

    def revoke(self, kind: str, id: str, **more: Any) -> None:  # noqa: A002  as in the message
        """Add an entry to the list and push it to every watcher."""
        entry = revocation(RevocationKind.Value(f"REVOCATION_KIND_{kind}"), id, **more)
        self.tokens.revocations.append(entry)
        self.tokens.push(entry)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[grpc.aio.Server]:
        """Serve until the context ends."""
        server = grpc.aio.server()
        token_service_pb2_grpc.add_TokenServiceServicer_to_server(self.tokens, server)
        access_service_pb2_grpc.add_AccessServiceServicer_to_server(self.access, server)
        self.address = f"127.0.0.1:{server.add_insecure_port(f'127.0.0.1:{port}')}"
        await server.start()
        try:
            yield server
        finally:
            self.tokens.cut()
            await server.stop(grace=None)

    @asynccontextmanager
    async def verifier(self, **options: Any) -> AsyncIterator[TokenVerifier]:
        """Return a verifier of this authority."""
        options.setdefault("timings", FeedTimings(list_every=timedelta(hours=1)))
        async with (
            grpc.aio.insecure_channel(self.address) as channel,
            TokenVerifier(CallerChannel(channel, None), clock=self.clock, **options) as verifier,
        ):
            yield verifier


def unused_address() -> str:
    """Return a loopback address where nothing listens."""
    return f"127.0.0.1:{free_ports(1)}"


@pytest.fixture
async def authority() -> AsyncIterator[Authority]:
    """Return an authority that is being served."""
    authority = Authority()
    async with authority.serve():
        yield authority


@pytest.fixture
def other_key() -> Key:
    """Return a key that the authority does not know."""
    return Key("key-2")


@pytest.fixture
async def nowhere() -> AsyncIterator[grpc.aio.Channel]:
    """Return a channel to an address where nothing listens."""
    async with CallerChannel(grpc.aio.insecure_channel(unused_address()), None) as channel:
        yield channel


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[float]]:
    """Return a wait until a claim holds; it answers with the seconds that took and fails after five."""

    async def wait(claim: Callable[[], Awaitable[bool]]) -> float:
        started = monotonic()
        await until(claim, within_s=PATIENCE_S)
        return monotonic() - started

    return wait
