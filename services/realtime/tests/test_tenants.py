"""Tenants never meet on a channel: the same name in two of them is two channels."""

from typing import Any

import pytest

from .clients import Talk

CHANNELS = ["chat:1", "news:1", "ward:1"]


async def heard(talk: Talk) -> list[Any]:
    """Return what came since, without replies."""
    await talk.settle()
    return [message["push"] for message in talk.socket.messages() if "push" in message]


@pytest.fixture
async def both(platform, stage) -> tuple[Talk, Talk]:
    """Give the same user in two tenants, who may do everything there."""
    platform.permissions.granted |= {("ann", "ward:watch"), ("ann", "ward:speak"), ("ann", "news:write")}
    return await stage.connected("ann"), await stage.connected("ann", tenant="another")


@pytest.mark.parametrize("channel", CHANNELS)
async def test_nothing_of_a_channel_reaches_another_tenant(both, stage, channel: str) -> None:
    """Neither what clients nor what services publish, nor who comes, goes and is there."""
    here, there = both
    for talk in both:
        (reply,) = [message for message in await talk.say({"id": 2, "subscribe": {"channel": channel}}) if message.get("id") == 2]
        assert "subscribe" in reply, reply
    before = await heard(there)
    await here.say({"id": 3, "publish": {"channel": channel, "data": {"secret": 1}}})
    await stage.manager.publish("default", channel, b'{"secret": 2}', {})
    present = {"id": 4, "presence": {"channel": channel}}, {"id": 5, "presence_stats": {"channel": channel}}
    for talk in both:
        for answer in await talk.say(*present):
            if "presence" in answer:
                assert len(answer["presence"]["presence"]) == 1
            if "presence_stats" in answer:
                assert answer["presence_stats"]["num_clients"] == 1
    await here.say({"id": 6, "unsubscribe": {"channel": channel}})
    assert await heard(there) == before
    assert any(push.get("pub", {}).get("data") == {"secret": 2} for push in await heard(here))


async def test_a_deletion_is_a_tenants_own(platform, both, stage) -> None:
    """What is deleted in one ends no subscription in another, though the object has the same key."""
    here, there = both
    platform.orders.owners["1"] = "ann"
    for talk in both:
        await talk.say({"id": 2, "subscribe": {"channel": "orders:1"}})
        assert "orders:1" in talk.session.subscriptions
    asked = platform.orders.asked
    stage.manager.lost("another", "orders", "1")
    await there.settle()
    await here.settle()
    assert platform.orders.asked == asked + 1
