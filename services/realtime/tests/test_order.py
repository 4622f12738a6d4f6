"""The order in which a connection gets what many are sent and what is its own."""

import asyncio
import random
from typing import Any, Literal

import pytest
from stylobate_realtime import codes
from stylobate_realtime.broker import Broadcast
from stylobate_realtime.protocol.messages import ClientInfo, Reply
from stylobate_realtime.subscription import Subscription

CHANNELS = ("news:1", "news:2")


class Scene:
    """Some connections in two channels, and what each is to get, written down as it happens."""

    def __init__(self, stage: Any, talks: list[Any], declaration: Any) -> None:
        self.hub = stage.manager._hub
        self.talks = talks
        self.wanted: list[list[object]] = [[1] for _ in talks]  # the reply to connect
        self.places: dict[tuple[int, str], Subscription] = {}
        self._declaration = declaration

    def move(self, at: int, channel: str) -> None:
        """Let a connection into a channel, or out of it."""
        session = self.talks[at].session
        if (place := self.places.pop((at, channel), None)) is not None:
            self.hub.leave(session, place)
            self.hub.release(place)
            return
        place = Subscription(channel, f"default:{channel}", self._declaration, wants_membership=at % 2 == 0)
        self.places[at, channel] = place
        self.hub.expect(session, place)
        self.hub._topic(place).holders += 1
        place.is_held, place.waiting = True, []
        self.hub.join(session, place)

    def broadcast(self, kind: Literal["publication", "join"], channel: str, name: str, size: int) -> None:
        """Let something come in."""
        self.hub.deliver(f"default:{channel}", Broadcast(kind, data=b'"%s"' % bytes(size).hex().encode(), info=ClientInfo(name)))
        for (at, of), place in self.places.items():
            if of == channel and (kind == "publication" or place.wants_membership):
                self.wanted[at].append((channel, name))

    def reply(self, at: int, number: int) -> None:
        """Send a connection something of its own."""
        self.talks[at].session.reply(Reply(id=number))
        self.wanted[at].append(number)

    def end(self, at: int) -> None:
        """Close a connection."""
        self.talks[at].session.end(codes.SHUTDOWN)
        for channel in CHANNELS:
            if (at, channel) in self.places:
                self.move(at, channel)


def shown(message: Any) -> object:
    """Return the id of a reply, or the channel and the name of a push."""
    if "push" not in message:
        return message.get("id", 0)
    push = message["push"]
    return push["channel"], (push.get("pub") or push["join"])["info"]["user"]


@pytest.mark.parametrize("batch", [2, 500])
@pytest.mark.parametrize("seed", range(6))
async def test_all_stays_in_order(platform, stage, seed: int, batch: int):
    """Whatever happens between publications, everybody gets what they would if each left at once, in that order.

    Also what happens while a publication is on its way to many, some of whom have it.
    """
    chance = random.Random(seed)
    stage.manager._hub._writes._batch = batch
    scene = Scene(stage, [await stage.connected(f"user-{number}") for number in range(6)], platform.channels["news"])
    for number in range(400):
        at, channel = chance.randrange(6), chance.choices(CHANNELS, (9, 1))[0]
        match chance.choices(("publication", "join", "move", "reply", "turn", "end"), (60, 5, 15, 10, 10, 0.3))[0]:
            case "move":
                scene.move(at, channel)
            case "reply":
                scene.reply(at, number)
            case "turn":
                await asyncio.sleep(0)
            case "end":
                scene.end(at)
            case "publication":
                scene.broadcast("publication", channel, str(number), chance.choice((1, 1, 1, 3000)))
            case "join":
                scene.broadcast("join", channel, str(number), 0)
    for talk, wanted in zip(scene.talks, scene.wanted, strict=True):
        await talk.settle()
        got = [shown(message) for message in talk.socket.messages()]
        assert got == wanted[: len(got)]
        assert len(got) == len(wanted) or talk.code == codes.SHUTDOWN.code
