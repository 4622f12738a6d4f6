"""Dispatch rules: which commands when, in which order, and what ends the connection."""

import asyncio
import json

import pytest
from stylobate_realtime import codes
from stylobate_realtime.protocol.protobuf_codec import ProtobufCodec
from stylobate_realtime.session_context import State


def _codes(messages):
    return [message.get("error", {}).get("code", 0) for message in messages]


@pytest.mark.parametrize(
    "command", [{"id": 1, "subscribe": {"channel": "news:1"}}, {}, {"send": {"data": 1}}, {"id": 1, "ping": {}}, {"id": 1}]
)
async def test_connect_comes_first(stage, command):
    """Anything but connect on a new session ends it with 3501, unanswered."""
    talk = stage.talk()
    assert await talk.say(command) == []
    assert talk.code == 3501


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"id": 2, "connect": {}}, 3501),
        ({"id": 2}, 3501),
        ({"subscribe": {"channel": "news:1"}}, 3501),  # without an id
        ({"id": 2, "subscribe": {}}, 3501),
        ({"id": 2, "unsubscribe": {"channel": ""}}, 3501),
        ({"id": 2, "publish": {"data": 1}}, 3501),
        ({"id": 2, "presence": {}}, 3501),
        ({"id": 2, "subscribe": {"channel": "news:1", "delta": "xdelta"}}, 3501),
        ({"id": 2, "refresh": {}}, 3501),
        ({}, 3501),  # a pong that nobody asked for
        ({"send": {"data": 1}}, 3508),
    ],
)
async def test_what_ends_a_connected_session(stage, command, code):
    """Commands that make no sense end the session; they get no reply."""
    talk = await stage.connected()
    assert await talk.say(command) == []
    assert talk.code == code


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"subscribe": {"channel": "news:" + "x" * 251}}, 107),
        ({"subscribe": {"channel": "news:ü"}}, 107),
        ({"subscribe": {"channel": "news:a b"}}, 107),
        ({"subscribe": {"channel": "plain"}}, 102),
        ({"subscribe": {"channel": "unknown:1"}}, 102),
        ({"subscribe": {"channel": "news:1", "type": 1}}, 108),
        ({"subscribe": {"channel": "news:1", "token": "x"}}, 103),
        ({"subscribe": {"channel": "news:1", "tf": {"key": "a"}}}, 107),
        ({"publish": {"channel": "chat:1", "data": 1}}, 103),
        ({"publish": {"channel": "chat:1"}}, 107),
        ({"publish": {"channel": "chat:1", "data": 1, "type": 1}}, 108),
        ({"publish": {"channel": "chat:1", "data": "x" * 3000}}, 107),
        ({"presence": {"channel": "unknown:1"}}, 102),
        ({"history": {"channel": "chat:1"}}, 108),
        ({"rpc": {"method": "x", "data": 1}}, 108),
        ({"sub_refresh": {"channel": "chat:1", "token": "x"}}, 108),
        ({"sub_refresh": {"channel": "chat:1"}}, 107),
    ],
)
async def test_what_is_refused(staged, command, code):
    """Each refusal has its number and a message, and the session lives."""
    talk = await staged(publication_bytes=2048).connected()
    (reply,) = await talk.say({"id": 7, **command})
    assert reply["id"] == 7
    assert reply["error"]["code"] == code
    assert reply["error"]["message"]
    assert talk.session.state is State.CONNECTED


async def test_frame_is_carried_out_in_order(stage):
    """Connect and subscribes of one frame are answered in order; the second subscribe of a channel is refused with 105."""
    talk = stage.talk()
    connect = {"id": 1, "connect": {"token": stage.platform.auth.token()}}
    subscribes = [{"id": n, "subscribe": {"channel": f"news:{n % 3}", "flag": 1}} for n in range(2, 6)]
    replies = await talk.say(connect, *subscribes)
    assert [reply["id"] for reply in replies] == [1, 2, 3, 4, 5]
    assert _codes(replies) == [0, 0, 0, 0, 105]


async def test_nothing_behind_a_fatal_command_is_carried_out(stage):
    """What follows a command that ends the session in the same frame is void."""
    talk = stage.talk()
    assert await talk.say({"id": 1, "connect": {"token": "junk"}}, {"id": 2, "subscribe": {"channel": "news:1"}}) == []
    assert talk.code == 3500


async def test_refused_connect_makes_the_session_unusable(stage):
    """After a connect was answered with an error the next command closes; without one the stale deadline does."""
    token = stage.platform.auth.token(ttl=-120)
    first, second = stage.talk(), stage.talk()
    for talk in (first, second):
        assert _codes(await talk.say({"id": 1, "connect": {"token": token}})) == [109]
    assert await first.say({"id": 2, "connect": {"token": stage.platform.auth.token()}}) == []
    assert first.code == 3501
    stage.advance(11)
    assert second.code == 3502


async def test_resubscribing_in_one_frame(stage):
    """Unsubscribe and subscribe right behind it end subscribed, and no push comes between reply and reply."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    replies = await talk.say({"id": 3, "unsubscribe": {"channel": "news:1"}}, {"id": 4, "subscribe": {"channel": "news:1"}})
    assert replies == [{"id": 3, "unsubscribe": {}}, {"id": 4, "subscribe": {}}]
    await stage.manager.publish("default", "news:1", b"1", {})
    await talk.settle()
    assert talk.socket.messages()[-1] == {"push": {"channel": "news:1", "pub": {"data": 1}}}


async def test_no_push_after_the_unsubscribe_reply(stage):
    """A publication that crosses the unsubscribe is not delivered behind its reply."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    await stage.manager.publish("default", "news:1", b"1", {})  # on its way, not delivered yet
    replies = await talk.say({"id": 3, "unsubscribe": {"channel": "news:1"}})
    assert replies[-1] == {"id": 3, "unsubscribe": {}}
    assert await talk.say({"id": 4, "unsubscribe": {"channel": "news:1"}}) == [{"id": 4, "unsubscribe": {}}]


async def test_own_join_follows_the_reply(stage):
    """With join_leave asked for, the subscriber hears its own join behind its subscribe reply, and not its own leave."""
    talk = await stage.connected()
    replies = await talk.say({"id": 2, "subscribe": {"channel": "chat:1", "join_leave": True}})
    assert replies[0] == {"id": 2, "subscribe": {}}
    assert replies[1]["push"]["join"]["info"] == {"user": "ann", "client": talk.session.client}
    assert await talk.say({"id": 3, "unsubscribe": {"channel": "chat:1"}}) == [{"id": 3, "unsubscribe": {}}]


async def test_channels_of_a_connection_are_limited(staged):
    """One more subscription than allowed is error 106; after an unsubscribe there is room again."""
    talk = await staged(channels_per_connection=2).connected()
    replies = await talk.say(*({"id": n, "subscribe": {"channel": f"news:{n}"}} for n in (2, 3, 4)))
    assert _codes(replies) == [0, 0, 106]
    await talk.say({"id": 5, "unsubscribe": {"channel": "news:2"}})
    assert _codes(await talk.say({"id": 6, "subscribe": {"channel": "news:4"}})) == [0]


async def test_connections_of_a_user_are_limited(staged):
    """One connection more than allowed is closed with 3504; one that ended makes room."""
    stage = staged(connections_per_user=1)
    first = await stage.connected("ann")
    second = stage.talk()
    assert await second.say({"id": 1, "connect": {"token": stage.platform.auth.token("ann")}}) == []
    assert second.code == 3504
    await stage.connected("bob")
    first.session.lost()
    await stage.connected("ann")


async def test_limits_are_charged_by_address_before_the_token_costs(stage):
    """An unknown token is charged on the address alone; a known one on both; over the limit is error 111."""
    limits = stage.platform.limits
    stage.platform.limits.refused.add("198.51.100.1")
    stranger = stage.talk("198.51.100.1")
    assert _codes(await stranger.say({"id": 1, "connect": {"token": "junk"}})) == [111]  # not 3500: nothing was verified
    assert limits.charged == [(("edge.ip",), ("198.51.100.1",))]

    limits.charged.clear()
    token = stage.platform.auth.token("ann")
    for _ in range(2):
        await stage.talk().say({"id": 1, "connect": {"token": token}})
    both = (("edge.ip", "edge.user"), ("192.0.2.1", "ann"))
    assert limits.charged == [(("edge.ip",), ("192.0.2.1",)), (("edge.user",), ("ann",)), both]

    talk = await stage.connected("ann")
    limits.refused.add("ann")
    assert _codes(await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})) == [111]
    assert _codes(await talk.say({"id": 3, "unsubscribe": {"channel": "news:1"}})) == [0]
    assert await talk.say({"send": {"data": 1}}) == []  # dropped silently
    assert talk.session.state is State.CONNECTED


async def test_defect_is_answered_without_its_text(stage):
    """An unexpected exception is error 100, temporary, and says nothing of what happened; the channel can be asked again."""
    talk = await stage.connected()
    stage.platform.presence.has_defect = True
    (reply,) = await talk.say({"id": 2, "subscribe": {"channel": "chat:1"}})
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    stage.platform.presence.has_defect = False
    assert _codes(await talk.say({"id": 3, "subscribe": {"channel": "chat:1"}}))[0] == 0


async def test_state_that_does_not_answer_is_temporary(stage):
    """While the state service is away a subscribe is error 100, which SDKs try again, not a refusal."""
    talk = await stage.connected()
    stage.platform.orders.owners["1"] = "ann"
    stage.platform.orders.is_down = True
    (reply,) = await talk.say({"id": 2, "subscribe": {"channel": "orders:1"}})
    assert (reply["error"]["code"], reply["error"]["temporary"]) == (100, True)


async def test_binary_junk_cannot_be_published(stage):
    """A protobuf client's payload that is not JSON is error 107: JSON subscribers could not take it."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "chat:1"}})
    text, talk.session.codec = talk.session.codec, ProtobufCodec()
    talk.session.receive(bytes.fromhex("1108033a0d0a06636861743a3112037b7b7b"))
    await talk.settle()
    talk.session.codec = text  # it became a member with this one
    assert bytes.fromhex("086b") in talk.socket.frames()[-1]  # code 107


async def test_flood_stops_the_reading(stage):
    """A client with many commands waiting is not read any further until they are carried out."""
    talk = await stage.connected()
    for n in range(200):
        talk.session.receive(json.dumps({"id": n + 2, "unsubscribe": {"channel": "news:" + "x" * 200}}).encode())
    assert not talk.socket.is_reading
    await talk.settle()
    assert talk.socket.is_reading
    assert len(talk.socket.messages()) == 201


async def test_session_that_ends_while_subscribing_leaves_nothing(stage):
    """A socket lost while its subscribe is under way leaves no presence and no topic behind."""
    talk = await stage.connected()
    talk.session.receive(b'{"id":2,"subscribe":{"channel":"chat:1"}}')
    await asyncio.sleep(0)
    talk.session.lost()
    await stage.manager.close()
    assert await stage.platform.presence.entries("default:chat:1") == {}
    assert (await stage.manager.health()).metrics == {"connections": 0.0, "channels": 0.0}


async def test_end_is_said_once(stage):
    """Ending a session twice closes once, with the first reason."""
    talk = await stage.connected()
    talk.session.end(codes.SHUTDOWN)
    talk.session.end(codes.INVALID_TOKEN)
    assert talk.code == 3001


@pytest.mark.parametrize(
    "command", [{"unsubscribe": {"channel": "news:1"}}, {"subscribe": {"channel": "closed:1"}}, {"rpc": {"method": "x"}}]
)
async def test_senseless_commands_without_end(stage, command):
    """Who is refused, or unsubscribes from nothing, 256 times in ten seconds may go on; one more closes with 3013."""
    talk = await stage.connected()
    await talk.say(*({"id": number, **command} for number in range(2, 258)))
    assert talk.code == 0
    stage.clock += 11
    await talk.say(*({"id": number, **command} for number in range(2, 258)))
    assert talk.code == 0
    await talk.say({"id": 2, **command})
    assert talk.code == 3013
