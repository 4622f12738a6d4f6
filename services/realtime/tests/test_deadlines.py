"""Deadlines on the wheel: stale, ping and pong, expiry and refresh, presence, slow readers."""

import time
from datetime import timedelta

from stylobate_realtime.session_context import State
from stylobate_realtime.timers import TimerWheel


async def test_stale_session_is_closed(stage):
    """A socket that never connects is closed with 3502 after ten seconds, not before."""
    talk = stage.talk()
    stage.advance(9)
    assert talk.code == 0
    stage.advance(2)
    assert talk.code == 3502


async def test_missing_pong_closes(stage):
    """A ping that is not answered closes with 3012 after the pong timeout; another command is not a pong."""
    talk = await stage.connected()
    stage.advance(25)
    await talk.settle()
    assert talk.socket.messages()[-1] == {}
    await talk.say({"id": 2, "unsubscribe": {"channel": "news:1"}})
    stage.advance(9)
    assert talk.code == 3012


async def test_answered_pings_go_on(stage):
    """Pings come at the interval, the first one earlier by chance, and a session that answers them lives."""
    talk = await stage.connected()
    pings = 0
    for _ in range(200):
        stage.advance(1)
        before = len(talk.socket.messages())
        await talk.settle()
        for message in talk.socket.messages()[max(0, before - 1) :]:
            if message == {} and talk.session._pong_by:
                pings += 1
                await talk.say({})
    assert talk.session.state is State.CONNECTED
    assert pings in {7, 8}


async def test_connection_outlives_its_token_by_the_grace(stage):
    """Without a new token the connection is closed with 3005 at ttl plus 25 seconds."""
    talk = await stage.connected(ttl=30)
    await _live(stage, talk, 50)
    assert talk.session.state is State.CONNECTED
    assert talk.session.is_expired
    await _live(stage, talk, 8)
    assert talk.code == 3005


async def _live(stage, talk, seconds):
    for _ in range(seconds):
        stage.advance(1)
        await talk.settle()
        if talk.session._pong_by:
            await talk.say({})


async def test_refresh_prolongs(stage):
    """A new token of the same user moves the expiry and is answered with its ttl."""
    talk = await stage.connected(ttl=30)
    (reply,) = await talk.say({"id": 2, "refresh": {"token": stage.platform.auth.token(ttl=300)}})
    assert reply["refresh"]["expires"] is True
    assert 295 <= reply["refresh"]["ttl"] <= 300
    await _live(stage, talk, 100)
    assert talk.session.state is State.CONNECTED


async def test_refresh_with_a_wrong_token_ends(stage):
    """Another user's or a broken token closes with 3500, an expired one with 3005."""
    auth = stage.platform.auth
    for token, code in ((auth.token("bob"), 3500), ("junk", 3500), (auth.token("ann", ttl=-120), 3005)):
        talk = await stage.connected("ann")
        assert await talk.say({"id": 2, "refresh": {"token": token}}) == []
        assert talk.code == code


async def test_connect_tells_when_to_refresh(stage):
    """The connect result has ttl, ping interval and pong."""
    talk = stage.talk()
    (reply,) = await talk.say({"id": 1, "connect": {"token": stage.platform.auth.token(ttl=100)}})
    result = reply["connect"]
    assert 95 <= result.pop("ttl") <= 100
    assert result.pop("client")
    assert result == {"version": "1.2.3", "expires": True, "ping": 25, "pong": True}


async def test_presence_is_renewed(stage):
    """A subscribed session's entry is renewed within every 27 seconds, and removed for good by an unsubscribe."""
    talk = await stage.connected()
    await talk.say({"id": 2, "subscribe": {"channel": "chat:1"}}, {"id": 3, "subscribe": {"channel": "chat:2"}})
    stage.platform.presence.puts.clear()
    await _live(stage, talk, 82)
    assert stage.platform.presence.puts in ([2, 2, 2], [2, 2, 2, 2])
    await talk.say({"id": 4, "unsubscribe": {"channel": "chat:1"}})
    assert await stage.platform.presence.entries("default:chat:1") == {}


async def test_reader_that_is_too_far_behind_is_dropped(stage):
    """When the queue is over its limit the connection is aborted, without a flush, and others go on."""
    slow, quick = await stage.connected("ann"), await stage.connected("bob")
    for talk in (slow, quick):
        await talk.say({"id": 2, "subscribe": {"channel": "news:1"}})
    slow.socket.keeps_up = False
    slow.session.blocked()  # as the transport says
    await stage.manager.publish("default", "news:1", b"1", {})
    await quick.settle()
    assert slow.socket.is_aborted
    assert slow.session.state is State.CLOSED
    assert quick.socket.messages()[-1]["push"]["pub"] == {"data": 1}


async def test_reader_that_takes_nothing_is_dropped(stage):
    """A socket that stays blocked for longer than the write timeout is aborted; one that recovers is not."""
    talk, recovered = await stage.connected(), await stage.connected()
    for each in (talk, recovered):
        each.socket.blocked_at = stage.clock
        each.session.blocked()
    recovered.socket.blocked_at = 0.0
    stage.advance(3)
    assert talk.socket.is_aborted
    assert recovered.session.state is State.CONNECTED


async def test_shutdown_is_spread(staged):
    """At shutdown every session is closed with 3001 within the drain."""
    stage = staged(drain=timedelta(seconds=0.05))
    talks = [await stage.connected(f"user-{n}") for n in range(60)]
    for talk in talks:
        stage.manager.retire(talk.session)
    assert {talk.code for talk in talks} == {0}
    deadline = time.monotonic() + 60
    while {talk.code for talk in talks} != {3001}:
        assert time.monotonic() < deadline
        await talks[0].settle()


class _Timed:
    def __init__(self, *following: float) -> None:
        self.due = 0
        self.ticks: list[float] = []
        self._following = list(following)

    def tick(self, now: float) -> float:
        self.ticks.append(now)
        return self._following.pop(0) if self._following else 0.0


def test_wheel_calls_once_per_deadline():
    """A later deadline does not replace an earlier one, an earlier one does, and a pause of the process loses nothing."""
    now = 100.0
    wheel = TimerWheel(lambda: now)
    timed = _Timed(120.0)
    wheel.schedule(timed, 110.0)
    wheel.schedule(timed, 115.0)
    wheel.schedule(timed, 105.2)
    for moment in (104.0, 105.5, 106.0, 110.0, 119.0):
        now = moment
        wheel.advance()
    assert timed.ticks == [106.0]
    now = 500.0
    wheel.advance()
    assert timed.ticks == [106.0, 500.0]


async def test_message_that_does_not_end(stage):
    """A message that has begun and is not whole after thirty seconds closes as slow; one that is whole by then does not."""
    talk = await stage.connected()
    for _ in range(2):
        talk.socket.amid_at = stage.clock
        talk.session.amid()
        await _live(stage, talk, 28)
        assert talk.session.state is State.CONNECTED
        talk.socket.amid_at = 0.0
    talk.socket.amid_at = stage.clock
    talk.session.amid()
    await _live(stage, talk, 32)
    assert talk.session.state is State.CLOSED
    assert talk.socket.is_aborted
