"""A subscription lasts as long as the right to it, for every kind of rule; with unmodified SDK clients on real sockets."""

import asyncio
import json

import centrifuge
import pytest
from stylobate.testing.until import until


@pytest.fixture(params=[False, True], ids=["json", "protobuf"])
def protobuf(request: pytest.FixtureRequest) -> bool:
    """Run the test in both encodings."""
    return request.param


async def _delete(platform) -> None:
    del platform.orders.owners["1"]
    await platform.log.delete("orders", "1")


async def _change_owner(platform) -> None:
    platform.orders.owners["1"] = "bob"
    await platform.log.delete("orders", "1")


async def _take_permission(platform) -> None:
    platform.permissions.granted.discard(("ann", "ward:watch"))
    await platform.auth.change_roles()


async def _take_role_that_reads(platform) -> None:
    platform.orders.owners["1"] = "carl"  # what was readable by a role is not any more; nothing was deleted
    await platform.auth.change_roles()


WAYS = {
    "object deleted": ("orders:1", _delete),
    "object of another owner": ("orders:1", _change_owner),
    "permission taken away": ("ward:1", _take_permission),
    "role taken away that read the object": ("orders:1", _take_role_that_reads),
}


@pytest.fixture
async def ann(platform, node, connect, protobuf):
    """Give somebody who may read order 1, watch and lead no ward."""
    platform.orders.owners["1"] = "ann"
    platform.permissions.granted.add(("ann", "ward:watch"))
    return await connect(node.url, platform.auth.token("ann"), use_protobuf=protobuf)


@pytest.mark.parametrize(("channel", "happens"), WAYS.values(), ids=WAYS)
async def test_subscription_ends_with_the_right(platform, node, ann, channel, happens):
    """The SDK is told to subscribe anew, is refused, and hears nothing more; what rests on no right goes on."""
    subscription, seen = await ann.subscribe(channel)
    _, other = await ann.subscribe("chat:1")
    await node.publish(channel, 1)
    await seen.wait("publication")

    await happens(platform)
    assert (await seen.wait("subscribing", 2)).code == 2502
    assert (await seen.wait("unsubscribed")).code == 103
    await node.publish(channel, {"secret": True})
    await node.publish("chat:1", 2)
    await other.wait("publication")
    assert len(seen.of("publication")) == 1
    assert subscription.state is centrifuge.SubscriptionState.UNSUBSCRIBED
    assert ann.client.state is centrifuge.ClientState.CONNECTED
    assert not other.of("unsubscribed")


async def test_key_beyond_ascii_is_percent_encoded_in_its_channel(platform, node, ann):
    """The right is asked of the key itself, both when it is taken up and when its object is deleted."""
    platform.orders.owners["é 1"] = "ann"
    _, seen = await ann.subscribe("orders:%C3%A9%201")
    await node.publish("orders:%C3%A9%201", 1)
    await seen.wait("publication")
    del platform.orders.owners["é 1"]
    await platform.log.delete("orders", "é 1")
    assert (await seen.wait("unsubscribed")).code == 103


async def test_object_that_is_handed_over_ends_its_former_owners_subscription(platform, node, ann):
    """Who could subscribe as the owner hears of the object no more once it is another's."""
    _, seen = await ann.subscribe("orders:1")
    platform.orders.owners["1"] = "bob"
    await platform.log.assign("orders", "1")
    assert (await seen.wait("unsubscribed")).code == 103
    await node.publish("orders:1", {"secret": True})
    assert not seen.of("publication")


async def test_right_that_still_holds_keeps_the_subscription(platform, node, ann):
    """Roles that change, deletions of other objects and new tokens leave a subscription alone whose right holds."""
    _, seen = await ann.subscribe("orders:1")
    _, ward = await ann.subscribe("ward:1")
    await platform.log.delete("orders", "2")
    await platform.log.delete("orders", "1")  # and made again, by the same owner, before it was asked
    await until(lambda: platform.orders.asked == 2)
    await platform.auth.change_roles()
    await until(lambda: platform.orders.asked == 3 and platform.permissions.asked == 2)
    for channel in ("orders:1", "ward:1"):
        await node.publish(channel, 1)
    await seen.wait("publication")
    await ward.wait("publication")
    assert len(seen.of("subscribing")) == len(ward.of("subscribing")) == 1


async def test_any_term_of_a_rule_is_enough(platform, node, ann):
    """Who holds two permissions of a rule and loses one stays; who loses both goes, out of presence too."""
    platform.permissions.granted.add(("ann", "ward:lead"))
    room, seen = await ann.subscribe("ward:1")
    asked = platform.permissions.asked
    await _take_permission(platform)
    await until(lambda: platform.permissions.asked == asked + 2)
    await node.publish("ward:1", 1)
    await seen.wait("publication")
    assert len((await room.presence()).clients) == 1

    platform.permissions.granted.clear()
    await platform.auth.change_roles()
    assert (await seen.wait("unsubscribed")).code == 103
    await until(lambda: not platform.presence.now("default:ward:1"))


async def test_publishing_and_presence_are_asked_for_each_time(platform, stage):
    """Who loses the permission to publish is refused without any event; presence goes with the subscription."""
    platform.permissions.granted |= {("ann", "ward:watch"), ("ann", "ward:speak")}
    talk = await stage.connected("ann")
    await talk.say({"id": 2, "subscribe": {"channel": "ward:1"}})
    publish, present = {"id": 3, "publish": {"channel": "ward:1", "data": 1}}, {"id": 4, "presence": {"channel": "ward:1"}}
    assert [reply.get("error") for reply in await talk.say(publish, present) if "id" in reply] == [None, None]
    platform.permissions.granted.clear()
    assert (await talk.say(publish))[0]["error"]["code"] == 103
    await stage.manager.standing.doubt_all()
    await until(lambda: not talk.session.subscriptions)
    assert (await talk.say(present))[-1]["error"]["code"] == 103


async def test_deletions_while_the_log_was_cut_off_are_not_missed(platform, node, ann):
    """After an interruption the log is read on from where it stopped."""
    _, seen = await ann.subscribe("orders:1")
    del platform.orders.owners["1"]
    platform.log.cut()
    await platform.log.delete("orders", "1")
    assert (await seen.wait("unsubscribed")).code == 103


async def test_gap_in_the_log_has_everything_asked_for_again(platform, node, ann):
    """When the log no longer holds what was not read yet, all rights are asked for again."""
    _, seen = await ann.subscribe("orders:1")
    del platform.orders.owners["1"]
    platform.log.events += [b"gone"] * 5
    platform.log.oldest = 5
    platform.log.cut()
    assert (await seen.wait("unsubscribed")).code == 103


async def test_right_that_cannot_be_told_does_not_last(platform, node, ann):
    """While state does not answer, a right in doubt is not relied on; once it answers the SDK is subscribed again by itself."""
    _, seen = await ann.subscribe("orders:1")
    platform.orders.is_down = True
    await platform.log.delete("orders", "1")
    await until(lambda: len(seen.of("subscribing")) == 2, within_s=15)
    await node.publish("orders:1", {"secret": True})
    platform.orders.is_down = False
    await until(lambda: len(seen.of("subscribed")) == 2, within_s=30)
    assert not seen.of("publication")


async def test_answer_by_what_another_process_knew_before(platform, ann):
    """When state has not heard yet that roles changed, it is asked once more, when it must have."""
    _, seen = await ann.subscribe("orders:1")
    await platform.auth.change_roles()
    await until(lambda: platform.orders.asked == 2)
    platform.orders.owners["1"] = "carl"  # now it has heard
    assert (await seen.wait("unsubscribed")).code == 103


async def test_refresh_asks_again(platform, node, connect):
    """A new token that grants less ends what it does not grant."""
    platform.permissions.granted.add(("ann", "ward:watch"))

    async def less() -> str:
        platform.permissions.granted.clear()  # as for a token with narrower scopes; nothing else tells of it
        return platform.auth.token("ann")

    ann = await connect(node.url, platform.auth.token("ann", ttl=2), get_token=less)
    _, seen = await ann.subscribe("ward:1")
    assert (await seen.wait("unsubscribed")).code == 103


async def test_right_lost_while_it_is_asked_for(platform, staged):
    """What happens while a subscribe is under way counts: at whichever await, the answer is no and nothing is heard."""
    stage = staged()
    platform.orders.owners["1"] = "ann"
    for turns in range(40):
        platform.orders.owners["1"] = "ann"
        talk = await stage.connected("ann")
        talk.session.receive(json.dumps({"id": 2, "subscribe": {"channel": "orders:1"}}).encode())
        for _ in range(turns):
            await asyncio.sleep(0)
        platform.orders.owners["1"] = "bob"
        stage.manager.lost("default", "orders", "1")
        await talk.settle()
        await until(lambda session=talk.session: not session.subscriptions)
        await stage.manager.publish("default", "orders:1", b'"secret"', {})
        await talk.settle()
        assert "secret" not in str(talk.socket.messages())
        talk.session.lost()


async def test_subscribing_anew_while_the_end_is_cleared_up(platform, stage):
    """A subscribe right behind the push is not undone by what the ended subscription leaves behind."""
    platform.permissions.granted.add(("ann", "ward:watch"))
    talk = await stage.connected("ann")
    await talk.say({"id": 2, "subscribe": {"channel": "ward:1"}})
    platform.permissions.granted.clear()
    stage.manager.standing.change()
    await stage.manager.standing.doubt_all()
    await until(lambda: not talk.session.subscriptions)
    platform.permissions.granted.add(("ann", "ward:watch"))
    (*_, reply) = await talk.say({"id": 3, "subscribe": {"channel": "ward:1"}})
    assert reply == {"id": 3, "subscribe": {}}
    assert list(platform.presence.now("default:ward:1")) == [talk.session.client]
    await stage.manager.publish("default", "ward:1", b"1", {})
    await talk.settle()
    assert talk.socket.messages()[-1] == {"push": {"channel": "ward:1", "pub": {"data": 1}}}
