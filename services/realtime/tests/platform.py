"""What nodes under test share: keys and revocations, state objects and their log, limits, presence; contracts are real."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.timestamp_pb2 import Timestamp
from jwt.algorithms import OKPAlgorithm
from stylobate.api.auth.v1 import token_service_pb2 as tokens_pb2
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceServicer, add_TokenServiceServicer_to_server
from stylobate.api.events.v1 import event_service_pb2 as events_pb2
from stylobate.api.events.v1.event_service_pb2_grpc import (
    EventServiceServicer,
    EventServiceStub,
    add_EventServiceServicer_to_server,
)
from stylobate.api.state.v1 import state_service_pb2 as state_pb2
from stylobate.api.state.v1.state_service_pb2_grpc import (
    StateServiceServicer,
    StateServiceStub,
    add_StateServiceServicer_to_server,
)
from stylobate.clients.bans import BanList
from stylobate.clients.edge import Edge
from stylobate.clients.limit_outcome import LimitOutcome
from stylobate.clients.limit_rules import LimitRules
from stylobate.declarations.model import ChannelDeclaration
from stylobate.errors import PermissionDeniedError, UnavailableError
from stylobate.identity.api_key import write_api_key
from stylobate.identity.auth_feed import FeedTimings
from stylobate.identity.principal import Principal, PrincipalKind
from stylobate.identity.resources import NOTHING, Granted
from stylobate.identity.verifier import TokenVerifier
from stylobate.ids import new_id
from stylobate.outbox import Event, PositionExpiredError
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers, call, standard_interceptors
from stylobate_realtime.presence import PresenceEntry

from .memory_broker import MemoryBus
from .memory_presence import MemoryPresence

KEY_ID = "key-1"
CHANNELS = {
    "chat": ChannelDeclaration("chat", "test", "authenticated", "subscribers", presence=True, join_leave=True),
    "news": ChannelDeclaration("news", "test", "public", "news:write"),
    "orders": ChannelDeclaration("orders", "test", "state:orders"),
    "ward": ChannelDeclaration("ward", "test", "ward:watch or ward:lead", "ward:speak", presence=True, join_leave=True),
    "closed": ChannelDeclaration("closed", "test"),
}


class Auth(TokenServiceServicer):
    """Publishes one key, and revocations as they are added."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.key_id = KEY_ID
        self.changed = asyncio.Condition()
        self.revoked: list[tokens_pb2.Revocation] = []
        self.access_version = 1
        self.api_keys: dict[str, tokens_pb2.VerifiedApiKey] = {}
        """By id."""

    def api_key(self, user: str = "ann", *, ttl: float = 600.0, **known: Any) -> tuple[str, str]:
        """Return an API key's id and text."""
        id_ = new_id()
        found = tokens_pb2.VerifiedApiKey(standing=tokens_pb2.API_KEY_STANDING_VALID, tenant="default", owner=user, **known)
        found.verified_at.FromNanoseconds(time.time_ns())
        found.believed_until.FromNanoseconds(time.time_ns() + int(ttl * 1e9))
        self.api_keys[id_] = found
        return id_, write_api_key("development", id_, bytes(32))[0]

    def token(self, user: str = "ann", *, session: str = "s1", ttl: float = 600.0, **claims: Any) -> str:
        """Return an access token."""
        now = time.time()
        body = {
            "iss": "stylobate", "aud": "stylobate", "sub": user, "tenant": "default", "sid": session, "jti": f"{session}-{now}",
            "iat": int(now), "exp": now + ttl, "roles": ["user"], "scope": "",
        } | claims  # fmt: skip
        return jwt.encode(body, self.key, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": self.key_id})

    def withdraw_key(self) -> None:
        """Publish another key in its place."""
        self.key, self.key_id = Ed25519PrivateKey.generate(), "key-2"

    async def revoke(self, session: str = "", *, token: str = "", subject: str = "", key: str = "") -> None:
        """Revoke a session, a token, an API key or all of a subject, and tell every verifier."""
        expires, later = Timestamp(seconds=int(time.time()) + 600), Timestamp(seconds=int(time.time()) + 60)
        for kind, id_ in (
            (tokens_pb2.REVOCATION_KIND_SESSION, session),
            (tokens_pb2.REVOCATION_KIND_TOKEN, token),
            (tokens_pb2.REVOCATION_KIND_SUBJECT, subject),
            (tokens_pb2.REVOCATION_KIND_KEY, key),
        ):
            if id_:
                entry = tokens_pb2.Revocation(kind=kind, id=id_, tenant="default", expires_at=expires, not_before=later)
                self.revoked.append(entry)
        async with self.changed:
            self.changed.notify_all()

    async def change_key(self, key: str) -> None:
        """Say that an API key is something else than it was."""
        now = Timestamp(seconds=int(time.time()))
        expires = Timestamp(seconds=now.seconds + 600)
        kind = tokens_pb2.REVOCATION_KIND_KEY_CHANGED
        self.revoked.append(tokens_pb2.Revocation(kind=kind, id=key, tenant="default", expires_at=expires, not_before=now))
        async with self.changed:
            self.changed.notify_all()

    async def change_roles(self) -> None:
        """Say that what was decided about permissions counts no more."""
        self.access_version += 1
        async with self.changed:
            self.changed.notify_all()

    async def GetJwks(self, request: Any, context: Any) -> Any:  # noqa: N802  the RPC's name
        """Return the key."""
        jwk = {**json.loads(OKPAlgorithm.to_jwk(self.key.public_key())), "kid": self.key_id, "alg": "EdDSA", "use": "sig"}
        return tokens_pb2.GetJwksResponse(jwks=json.dumps({"keys": [jwk]}).encode())

    async def VerifyApiKeys(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return how keys stand."""
        unknown = tokens_pb2.VerifiedApiKey(standing=tokens_pb2.API_KEY_STANDING_UNKNOWN)
        return tokens_pb2.VerifyApiKeysResponse(api_keys=[self.api_keys.get(proof.id, unknown) for proof in request.proofs])

    async def ListRevocations(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return the list."""
        return tokens_pb2.ListRevocationsResponse(revocations=self.revoked, access_version=self.access_version)

    async def WatchRevocations(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send the list, and again when it grows or the version rises."""
        while True:
            sent = (len(self.revoked), self.access_version)
            yield tokens_pb2.WatchRevocationsResponse(revocations=self.revoked, complete=True, access_version=self.access_version)
            async with self.changed:
                await self.changed.wait_for(lambda sent=sent: (len(self.revoked), self.access_version) != sent)


class State(StateServiceServicer):
    """Orders by owner: who asks for another's is refused."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.asked = 0
        self.is_down = False

    async def GetState(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Return what the caller owns of what was asked for."""
        self.asked += 1
        if self.is_down:
            raise UnavailableError
        states = []
        for key in request.keys:
            owner = self.owners.get(key.key)
            if owner is None:
                continue
            if owner != call().principal.id:
                raise PermissionDeniedError
            states.append(state_pb2.State(namespace=key.namespace, key=key.key, owner=owner))
        return state_pb2.GetStateResponse(states=states)

    async def WatchStates(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell of nothing."""
        for _ in ():
            yield


class Log(EventServiceServicer):
    """State's log of deletions and hand-overs. A position is the number of events before it."""

    def __init__(self) -> None:
        self.events: list[bytes] = []
        self.oldest = 0
        """Positions before are expired."""
        self.changed = asyncio.Condition()
        self.streams: set[asyncio.Task[Any]] = set()

    async def delete(self, namespace: str, key: str) -> None:
        """Write down a deletion and tell the readers."""
        await self._tell(f"state.{namespace}.deleted", key)

    async def assign(self, namespace: str, key: str) -> None:
        """Write down a hand-over and tell the readers."""
        await self._tell(f"state.{namespace}.assigned", key)

    async def _tell(self, type_: str, key: str) -> None:
        self.events.append(Event.new(type_, key, {}, source="state").json())
        async with self.changed:
            self.changed.notify_all()

    def cut(self) -> None:
        """End every stream, as a restart does."""
        for stream in self.streams:
            stream.cancel()

    async def ListLogs(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Name the one."""
        return events_pb2.ListLogsResponse(logs=[events_pb2.Log(source=request.service)])

    async def ReadEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Send what is behind the position, and what comes."""
        assert list(request.types) == ["state.*.deleted", "state.*.assigned"]
        position = int(request.position or len(self.events))
        if position < self.oldest:
            raise PositionExpiredError
        stream = asyncio.current_task()
        assert stream is not None
        self.streams.add(stream)
        try:
            yield events_pb2.ReadEventsResponse(position=str(position))
            while True:
                entries = [events_pb2.LoggedEvent(event=text) for text in self.events[position:]]
                position = len(self.events)
                yield events_pb2.ReadEventsResponse(events=entries, position=str(position))
                async with self.changed:
                    await self.changed.wait_for(lambda read=position: len(self.events) > read)
        finally:
            self.streams.discard(stream)


class Permissions:
    """Grants what a test put in."""

    def __init__(self) -> None:
        self.granted: set[tuple[str, str]] = set()
        self.asked = 0

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether it was granted."""
        self.asked += 1
        return (principal.subject, permission) in self.granted

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:
        """Nothing, to nobody."""
        return NOTHING


class Limits:
    """Refuses the subjects that a test names and keeps what was charged."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.charged: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.gate = asyncio.Event()
        """Charges wait for it."""
        self.gate.set()
        self.waiting = 0

    async def check(self, levels: Any, subjects: tuple[str, ...]) -> LimitOutcome:
        """Charge."""
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        self.charged.append((tuple(level.name for level in levels), subjects))
        return LimitOutcome.of(int(self.refused.isdisjoint(subjects)))


class NoService:
    """Takes no service token: callers here are users."""

    def verify(self, token: str, audiences: Any = ()) -> str:
        """Refuse."""
        raise AssertionError("no service calls")


class WatchedPresence(MemoryPresence):
    """Counts renewals; fails with a defect when a test wants one."""

    def __init__(self) -> None:
        super().__init__(timedelta(seconds=60), time.monotonic)
        self.puts: list[int] = []
        self.has_defect = False
        self.gate = asyncio.Event()
        """Renewals wait for it."""
        self.gate.set()

    async def put(self, entries: Sequence[PresenceEntry]) -> None:
        """Add or renew."""
        if self.has_defect:
            raise RuntimeError("secret detail")
        await self.gate.wait()
        self.puts.append(len(entries))
        await super().put(entries)

    def now(self, topic: str) -> dict[str, Any]:
        """Return who is there."""
        return self._topics.get(topic, {})


@dataclass
class Platform:
    """What several nodes share."""

    verifier: TokenVerifier
    state: Any
    auth: Auth
    orders: State
    log: Log
    events: Any
    """A stub of state's EventService."""
    channels: Mapping[str, ChannelDeclaration] = field(default_factory=lambda: dict(CHANNELS))
    permissions: Permissions = field(default_factory=Permissions)
    limits: Limits = field(default_factory=Limits)
    bans: BanList = field(default_factory=BanList)
    bus: MemoryBus = field(default_factory=MemoryBus)

    presence: WatchedPresence = field(default_factory=WatchedPresence)

    @property
    def edge(self) -> Edge:
        """What a door asks."""
        return Edge(self.limits, self.bans, LimitRules())

    @staticmethod
    def principal(user: str, *, session: str = "s1", jti: str = "") -> Principal:
        """Return who a token names that is issued now."""
        return Principal(PrincipalKind.USER, user, session=session, token_id=jti, issued_at=time.time())


@asynccontextmanager
async def open_platform() -> AsyncIterator[Platform]:
    """Give what nodes share: keys and state objects behind local channels."""
    auth, orders, log = Auth(), State(), Log()
    users = Servicers()
    users.register(
        add_TokenServiceServicer_to_server,
        auth,
        dict.fromkeys(("GetJwks", "WatchRevocations", "ListRevocations", "VerifyApiKeys"), RpcAccess.PUBLIC),
    )
    auth_server = LocalServer(users)
    await auth_server.start()
    timings = FeedTimings(unknown_key_pause=timedelta(0))
    async with TokenVerifier(CallerChannel(LocalChannel(auth_server), None), timings=timings) as verifier:
        await verifier.ready.wait()
        servicers = Servicers(standard_interceptors(verifier, NoService()))
        names = (method.name for method in state_pb2.DESCRIPTOR.services_by_name["StateService"].methods)
        servicers.register(add_StateServiceServicer_to_server, orders, dict.fromkeys(names, RpcAccess.AUTHENTICATED))
        servicers.register(add_EventServiceServicer_to_server, log, dict.fromkeys(("ReadEvents", "ListLogs"), RpcAccess.PUBLIC))
        state_server = LocalServer(servicers)
        await state_server.start()
        channel = CallerChannel(LocalChannel(state_server), None)
        yield Platform(verifier, StateServiceStub(channel), auth, orders, log, EventServiceStub(channel))
        await state_server.stop()
        await auth_server.stop()
