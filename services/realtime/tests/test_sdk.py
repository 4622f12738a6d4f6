"""The unmodified centrifuge-python SDK against a real server, in both encodings."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import centrifuge
import pytest
from stylobate.testing.ports import free_ports

pytestmark = pytest.mark.usefixtures("platform")


@pytest.fixture(params=[False, True], ids=["json", "protobuf"])
def protobuf(request: pytest.FixtureRequest) -> bool:
    """Run the test in both encodings."""
    return request.param


def _payload(data: Any, protobuf: bool) -> Any:
    return json.dumps(data).encode() if protobuf else data


def _data(context: Any) -> Any:
    data = context.pub.data
    return json.loads(data) if isinstance(data, bytes) else data


async def test_subscriber_receives_what_a_service_publishes(platform, node, connect, protobuf):
    """A connected client that may read the state object gets the publications of its channel, in order."""
    platform.orders.owners["42"] = "ann"
    ann = await connect(node.url, platform.auth.token("ann"), use_protobuf=protobuf)
    connected = await ann.watch.wait("connected")
    assert connected.version == "1.2.3"
    assert connected.client

    _, watch = await ann.subscribe("orders:42")
    await watch.wait("subscribed")
    for n in range(20):
        await node.publish("orders:42", {"n": n})
    await watch.wait("publication", 20)
    assert [_data(context) for context in watch.of("publication")] == [{"n": n} for n in range(20)]


async def test_channel_of_anothers_object_is_refused(platform, node, connect, protobuf):
    """Who may not read the state object, or asks for one that does not exist, gets error 103 and the connection lives."""
    platform.orders.owners["42"] = "ann"
    bob = await connect(node.url, platform.auth.token("bob"), use_protobuf=protobuf)
    for channel in ("orders:42", "orders:43", "closed:1", "$chat:1"):
        _, watch = await bob.subscribe(channel)
        assert (await watch.wait("unsubscribed")).code == 103
    _, watch = await bob.subscribe("nowhere:1")
    assert (await watch.wait("unsubscribed")).code == 102
    assert bob.client.state is centrifuge.ClientState.CONNECTED


async def test_publishing_reaches_every_subscriber_with_its_author(platform, node, connect, protobuf):
    """A subscriber's publication reaches the others and itself, naming user and client, over both encodings."""
    ann = await connect(node.url, platform.auth.token("ann"), use_protobuf=protobuf)
    bob = await connect(node.url, platform.auth.token("bob"))
    room, seen_by_ann = await ann.subscribe("chat:1")
    _, seen_by_bob = await bob.subscribe("chat:1")

    await room.publish(_payload({"text": "hällo\n"}, protobuf))
    for watch in (seen_by_ann, seen_by_bob):
        context = await watch.wait("publication")
        assert _data(context) == {"text": "hällo\n"}
        assert context.pub.info.user == "ann"
        assert context.pub.info.client == ann.watch.of("connected")[0].client


async def test_publishing_is_refused_to_who_is_not_subscribed(platform, node, connect):
    """`subscribers` means subscribed at that moment, a permission means held, nothing means nobody."""
    ann = await connect(node.url, platform.auth.token("ann"))
    for channel in ("chat:1", "news:1", "orders:1"):
        with pytest.raises(centrifuge.ReplyError) as refused:
            await ann.client.publish(channel, {})
        assert refused.value.code == 103
    platform.permissions.granted.add(("ann", "news:write"))
    await ann.client.publish("news:1", {})


async def test_presence_and_membership(platform, node, connect, protobuf):
    """Presence lists every connection, joins and leaves are pushed to who asked, and an unsubscribe shows at once."""
    ann = await connect(node.url, platform.auth.token("ann"), use_protobuf=protobuf)
    bob = await connect(node.url, platform.auth.token("bob"), use_protobuf=protobuf)
    room, watch = await ann.subscribe("chat:1", join_leave=True)
    assert (await watch.wait("join")).info.user == "ann"
    bobs_room, _ = await bob.subscribe("chat:1")
    assert (await watch.wait("join", 2)).info.user == "bob"

    present = (await room.presence()).clients
    assert sorted(info.user for info in present.values()) == ["ann", "bob"]
    stats = await room.presence_stats()
    assert (stats.num_clients, stats.num_users) == (2, 2)

    await bobs_room.unsubscribe()
    assert (await watch.wait("leave")).info.user == "bob"
    assert [info.user for info in (await room.presence()).clients.values()] == ["ann"]


async def test_lost_connection_leaves_its_channels(platform, node, connect):
    """A client that goes away without a word is gone from presence, and the others hear it leave."""
    ann = await connect(node.url, platform.auth.token("ann"))
    bob = await connect(node.url, platform.auth.token("bob"))
    room, watch = await ann.subscribe("chat:1", join_leave=True)
    await bob.subscribe("chat:1")
    await bob.client.disconnect()
    assert (await watch.wait("leave")).info.user == "bob"
    assert len((await room.presence()).clients) == 1


async def test_presence_needs_a_subscription_and_a_namespace_that_keeps_it(platform, node, connect):
    """Not subscribed: 103; a namespace without presence: 108."""
    ann = await connect(node.url, platform.auth.token("ann"))
    for channel, code in (("chat:1", 103), ("news:1", 108)):
        with pytest.raises(centrifuge.ReplyError) as refused:
            await ann.client.presence(channel)
        assert refused.value.code == code
    with pytest.raises(centrifuge.ReplyError) as refused:
        await ann.client.rpc("anything", {})
    assert refused.value.code == 108
    with pytest.raises(centrifuge.ReplyError) as refused:
        await ann.client.history("chat:1", limit=1)
    assert refused.value.code == 108


async def test_bad_token_ends_for_good(platform, node, connect, protobuf):
    """A token that does not hold closes with 3500, none with 3507; the SDK does not come back."""
    for token, code in (("not-a-token", 3500), ("", 3507)):
        stranger = await connect(node.url, token, wait=False, use_protobuf=protobuf)
        assert (await stranger.watch.wait("disconnected")).code == code


async def test_expired_token_is_replaced(platform, node, connect, protobuf):
    """An expired token is answered with 109: the SDK asks for a new one and connects."""
    asked = []

    async def get_token() -> str:
        asked.append(True)
        return platform.auth.token("ann")

    expired = platform.auth.token("ann", ttl=-120)
    ann = await connect(node.url, expired, get_token=get_token, use_protobuf=protobuf, min_reconnect_delay=0.01)
    assert asked
    assert ann.client.state is centrifuge.ClientState.CONNECTED


async def test_revoked_session_is_closed(platform, node, connect):
    """Logout closes the session's sockets for good, and only those."""
    ann = await connect(node.url, platform.auth.token("ann", session="s1"))
    bob = await connect(node.url, platform.auth.token("bob", session="s2"))
    async with asyncio.timeout(60):
        await platform.auth.revoke("s1")
        assert (await ann.watch.wait("disconnected")).code == 3500
    assert bob.client.state is centrifuge.ClientState.CONNECTED
    again = await connect(node.url, platform.auth.token("ann", session="s1"), wait=False)
    assert (await again.watch.wait("disconnected")).code == 3500


async def test_token_is_refreshed_while_connected(platform, serve, connect):
    """Before its token ends the SDK brings a new one, and the connection outlives the first."""

    async def get_token() -> str:
        return platform.auth.token("ann", ttl=600)

    async with serve(expiry_grace=timedelta(seconds=2)) as node:
        ann = await connect(node.url, platform.auth.token("ann", ttl=1), get_token=get_token)
        await asyncio.sleep(4.5)  # longer than token and grace: time itself is what is tested
        assert ann.client.state is centrifuge.ClientState.CONNECTED
        assert len(ann.watch.of("connecting")) == 1


async def test_restart_of_the_server_is_survived(platform, serve, connect, protobuf):
    """After a restart on the same port the SDK is connected and subscribed again by itself, told to by code 3001."""
    port = free_ports(1)
    async with serve(port=port) as node:
        ann = await connect(node.url, platform.auth.token("ann"), use_protobuf=protobuf, min_reconnect_delay=0.05)
        _, watch = await ann.subscribe("chat:1")
    assert (await ann.watch.wait("connecting", 2)).code == 3001
    async with serve(port=port) as node:
        await watch.wait("subscribed", 2)
        await node.publish("chat:1", {"back": True})
        assert _data(await watch.wait("publication")) == {"back": True}


async def test_pings_keep_the_connection(platform, serve, connect, protobuf):
    """The SDK answers pings and stays; it is not closed for a missing pong."""
    async with serve(ping_interval=timedelta(seconds=1), pong_timeout=timedelta(seconds=0.5)) as node:
        ann = await connect(node.url, platform.auth.token("ann"), use_protobuf=protobuf)
        assert ann.client._ping_interval == 1
        await asyncio.sleep(3.5)  # two pings and their deadlines: time itself is what is tested
        assert len(ann.watch.of("connected")) == 1
        assert ann.client.state is centrifuge.ClientState.CONNECTED
