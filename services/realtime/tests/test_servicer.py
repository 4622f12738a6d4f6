"""RealtimeService through the pipeline, as services call it."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from stylobate.api.realtime.v1.realtime_service_pb2 import PublishRequest
from stylobate.api.realtime.v1.realtime_service_pb2_grpc import RealtimeServiceStub, add_RealtimeServiceServicer_to_server
from stylobate.errors import StylobateError
from stylobate.idempotency import Idempotency
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.service_keys import generate_service_keys
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, Servicers, standard_interceptors
from stylobate_realtime.errors import RealtimeUnavailableError
from stylobate_realtime.servicer import RealtimeServicer

from .memory_broker import MemoryBroker


class UnavailableBroker(MemoryBroker):
    """A broker whose server is away."""

    async def publish(self, topic, broadcast, claim=None):
        """Refuse."""
        raise RealtimeUnavailableError


@pytest.fixture
async def call(stage, platform, tmp_path) -> AsyncIterator:
    """Give a caller of Publish in the name of the actions service, on any stage."""
    generate_service_keys(tmp_path, ["actions", "realtime"])
    actions = ServiceIdentity.load("actions", tmp_path / "actions.pem", tmp_path)
    realtime = ServiceIdentity.load("realtime", tmp_path / "realtime.pem", tmp_path)

    async def publish(channel, data, *, on=stage, identity=actions, **fields):
        servicers = Servicers(standard_interceptors(platform.verifier, realtime))
        servicers.register(
            add_RealtimeServiceServicer_to_server, RealtimeServicer(on.manager, Idempotency(on.broker, lambda: datetime.now(UTC)))
        )
        server = LocalServer(servicers)
        await server.start()
        stub = RealtimeServiceStub(CallerChannel(LocalChannel(server), identity and identity.to("realtime")))
        try:
            return await stub.Publish(PublishRequest(channel=channel, data=data, **fields))
        finally:
            await server.stop()

    return publish


async def test_service_publishes(stage, call):
    """A service's publication reaches subscribers with its tags and without an author."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    await call("news:1", b'{"a": 1}', tags={"lang": "de"})
    await talk.settle()
    push = talk.socket.messages()[-1]["push"]
    assert push == {"channel": "news:1", "pub": {"data": {"a": 1}, "tags": {"lang": "de"}}}


@pytest.mark.parametrize(
    ("channel", "data", "reason"),
    [
        ("unknown:1", b"1", "REALTIME_CHANNEL_UNKNOWN"),
        ("news:" + "x" * 300, b"1", "REALTIME_CHANNEL_INVALID"),
        ("", b"1", "REALTIME_CHANNEL_INVALID"),
        ("news:1", b"", "INVALID_INPUT"),
        ("news:1", b"{", "INVALID_INPUT"),
        ("news:1", json.dumps("x" * 600_000).encode(), "INVALID_INPUT"),
    ],
)
async def test_what_cannot_be_published(call, channel, data, reason):
    """Unknown channels and payloads that are not JSON or too long are refused with their reason."""
    with pytest.raises(StylobateError) as refused:
        await call(channel, data)
    assert refused.value.reason == reason


async def test_broker_that_is_away(staged, call):
    """While the broker does not take it the caller hears REALTIME_UNAVAILABLE."""
    with pytest.raises(StylobateError) as refused:
        await call("news:1", b"1", on=staged(broker=UnavailableBroker()))
    assert refused.value.reason == "REALTIME_UNAVAILABLE"


async def test_users_may_not_call(call):
    """Without a service's token Publish is refused."""
    with pytest.raises(StylobateError) as refused:
        await call("news:1", b"1", identity=None)
    assert refused.value.reason in {"UNAUTHENTICATED", "PERMISSION_DENIED"}


async def test_a_publication_with_a_key_is_sent_once(stage, call):
    """The same again is answered and not sent; another one with the key is refused; another caller's key is another key."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    assert [(await call("news:1", b"1", idempotency_key="k")).replayed for _ in range(3)] == [False, True, True]
    with pytest.raises(StylobateError) as refused:
        await call("news:1", b"2", idempotency_key="k")
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    with pytest.raises(StylobateError) as refused:
        await call("news:1", b"2", idempotency_key="k" * 256)
    assert refused.value.reason == "INVALID_INPUT"
    with pytest.raises(StylobateError):
        await call("unknown:1", b"3", idempotency_key="l")  # nothing was sent: the key is free
    await call("news:1", b"3", idempotency_key="l")
    await talk.settle()
    assert [push["push"]["pub"]["data"] for push in talk.socket.messages() if "push" in push] == [1, 3]


async def test_a_step_of_a_run_is_held_against_its_channel(stage, call):
    """A run that is begun anew may have seen something newer: what it sent the first time stands."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    for data, step in ((b"1", 1), (b"2", 1), (b"3", 2)):
        await call("news:1", data, idempotency_key="run", idempotency_step=step)
    with pytest.raises(StylobateError) as refused:
        await call("news:2", b"1", idempotency_key="run", idempotency_step=1)
    assert refused.value.reason == "IDEMPOTENCY_KEY_REUSED"
    await talk.settle()
    assert [push["push"]["pub"]["data"] for push in talk.socket.messages() if "push" in push] == [1, 3]
