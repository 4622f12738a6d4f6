"""Bans from the refusal that leads to them to the door that knows of them, over the real service in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from stylobate.api.ratelimit.v1 import ratelimit_service_pb2 as pb
from stylobate.api.ratelimit.v1.ratelimit_service_pb2_grpc import RateLimitServiceStub, add_RateLimitServiceServicer_to_server
from stylobate.app.memory_app import RolePermissions
from stylobate.clients.bans import BanFeed, BanList, BannedError
from stylobate.clients.edge import Edge
from stylobate.clients.limit_outcome import RateLimitedError
from stylobate.clients.limit_rules import LimitRules
from stylobate.clients.limits import LimitsClient
from stylobate.declarations import Declarations
from stylobate.errors import InvalidInputError, StylobateError
from stylobate.identity import Principal, PrincipalKind
from stylobate.rpc import CallerChannel, LocalChannel, LocalServer, RpcAccess, Servicers
from stylobate.rpc.call import Call
from stylobate.testing import FakeClock
from stylobate.testing.until import until
from stylobate_ratelimit import ban_list as followed
from stylobate_ratelimit.ban import LONGEST, AutomaticBan, BanSubject, OperatorBan
from stylobate_ratelimit.ban_manager import BanManager
from stylobate_ratelimit.errors import BanNotFoundError
from stylobate_ratelimit.rate_limiter_manager import RateLimiterManager
from stylobate_ratelimit.servicer import RateLimitServicer
from stylobate_ratelimit.stand_in import StandIn
from stylobate_ratelimit.store.memory import MemoryLimitStore
from stylobate_ratelimit.store.memory_bans import MemoryBanStore

MINUTE = timedelta(minutes=1)
ADA, BEN = (Principal(PrincipalKind.USER, name, session=f"{name}-1") for name in ("ada", "ben"))
RULES = """
limits:
  edge.ip: { limit: 1000/second }
  edge.user: { limit: 1000/second }
  site.user: { limit: 3/hour, per: user, ban: { after: 2, within: 1m, for: 1m, ceiling: 4m } }
"""


class Platform:
    """Everything from the store to the door."""

    def __init__(self, file: Path) -> None:
        self.clock = FakeClock()
        self.store = MemoryBanStore(self.clock)
        self.followed = followed.BanList(clock=self.clock)
        self.manager = BanManager(RolePermissions(Declarations()), self.followed)
        counts = MemoryLimitStore(self.clock.seconds)
        self.limiter = RateLimiterManager(counts, StandIn(counts), {}, self.manager)
        servicers = Servicers()
        servicer: Any = RateLimitServicer(self.limiter, self.manager, self.followed, None)  # type: ignore[arg-type]
        servicers.register(
            add_RateLimitServiceServicer_to_server, servicer, dict.fromkeys(RateLimitServicer.ACCESS, RpcAccess.PUBLIC)
        )
        self.server = LocalServer(servicers)
        self.channel = CallerChannel(LocalChannel(self.server), None)
        self.rules = LimitRules(platform=file)
        self.bans: BanList
        self.edge: Edge

    async def knock(self, who: Principal, address: str = "192.0.2.7") -> str:
        """Come to the door; return what it says."""
        try:
            await self.edge.charge(address, who)
        except StylobateError as error:
            return error.reason
        return "in"


@asynccontextmanager
async def _running(file: Path) -> AsyncIterator[Platform]:
    platform = Platform(file)
    await platform.server.start()
    tasks = [
        asyncio.create_task(platform.followed.run(platform.store)),
        asyncio.create_task(platform.manager.run(platform.limiter.quiet, platform.limiter.forgive)),
    ]
    async with LimitsClient(platform.channel) as limits, BanFeed(platform.channel, platform.clock.seconds) as feed:
        platform.bans, platform.edge = feed, Edge(limits, feed, platform.rules)
        yield platform
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await platform.server.stop()


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    """Give the platform."""
    file = tmp_path / "limits.yaml"
    file.write_text(RULES)
    async with _running(file) as running:
        yield running


async def test_who_is_refused_again_and_again_is_banned_and_no_neighbour(platform: Platform) -> None:
    """From the second refusal on the door knows; then nobody is asked, and another user of the address is let in."""
    assert [await platform.knock(ADA) for _ in range(5)] == ["in", "in", "in", "RATE_LIMITED", "RATE_LIMITED"]
    await until(lambda: len(platform.bans) == 1)
    assert await platform.knock(ADA, "198.51.100.1") == "BANNED"
    assert await platform.knock(BEN) == "in"
    assert [event.type for event in platform.store.events] == ["ratelimit.ban.started"]
    assert [record.target for record in platform.store.records] == ["user:ada"]


async def _is_banned(platform: Platform) -> bool:
    return await platform.knock(ADA) == "BANNED"


async def test_a_ban_ends_by_itself_and_the_next_is_longer(platform: Platform) -> None:
    """One minute, then two; what was refused before the first does not count for the second."""
    for strikes in (1, 2):
        await until(lambda: _is_banned(platform))
        ban = await platform.store.ban(BanSubject.of("user", "ada"))
        assert ban is not None
        assert (ban.strikes, ban.until - ban.started_at) == (strikes, strikes * MINUTE)  # type: ignore[operator]
        platform.clock.advance(strikes * MINUTE)
        assert await platform.knock(ADA) == "RATE_LIMITED"  # once more: it is counted from here on
    assert len(platform.store.events) == 2


async def test_a_lifted_ban_lets_in_at_once(platform: Platform) -> None:
    """At every door, and its refusals are forgotten."""
    await until(lambda: _is_banned(platform))
    operator = Principal(PrincipalKind.SERVICE, "service:cli", via="cli")
    await platform.manager.lift(BanSubject.of("user", "ada"), operator, Call(principal=operator))
    await until(lambda: len(platform.bans) == 0)
    assert await platform.knock(ADA) == "RATE_LIMITED"
    assert [event.type for event in platform.store.events] == ["ratelimit.ban.started", "ratelimit.ban.lifted"]


async def test_a_list_of_what_cannot_be_banned_is_refused(platform: Platform) -> None:
    """It would be empty, as if nobody were banned."""
    operator = Principal(PrincipalKind.SERVICE, "service:cli", via="cli")
    with pytest.raises(InvalidInputError):
        await platform.manager.list(operator, "users", 50, "")


async def test_the_service_refuses_a_banned_subject_too(platform: Platform) -> None:
    """A door that has not heard of a ban yet asks, is told so, and the check is neither charged nor counted as a refusal."""
    await platform.manager.begin(AutomaticBan(BanSubject.of("user", "ada"), "site.user", MINUTE, MINUTE))
    deaf = Edge(platform.edge.limits, BanList(platform.clock.seconds), platform.rules)
    with pytest.raises(BannedError) as caught:
        await deaf.charge("192.0.2.7", ADA)
    assert caught.value.retry_after == MINUTE
    await deaf.charge("192.0.2.7", BEN)
    platform.clock.advance(MINUTE)
    for _ in range(3):
        await deaf.charge("192.0.2.7", ADA)
    with pytest.raises(RateLimitedError):
        await deaf.charge("192.0.2.7", ADA)


async def test_known_bans_hold_while_nobody_tells(platform: Platform) -> None:
    """The stream is cut: who is banned stays out until the ban ends; when it is back, what was missed is heard of."""
    await platform.manager.begin(AutomaticBan(BanSubject.of("user", "ada"), "site.user", MINUTE, MINUTE))
    await until(lambda: len(platform.bans) == 1)
    await platform.server.stop()
    assert await platform.knock(ADA) == "BANNED"
    await platform.manager.begin(AutomaticBan(BanSubject.of("user", "ben"), "site.user", 9 * MINUTE, 9 * MINUTE))
    platform.clock.advance(MINUTE)
    await platform.server.start()
    await until(lambda: platform.bans.find("", BEN) is not None)
    assert platform.bans.find("", ADA) is None


async def test_a_network_is_kept_out_until_it_is_lifted(platform: Platform) -> None:
    """At the door and by who counts; the ban that lasts longest of all that hold is told; lifted, the narrower one holds on."""
    operator = Principal(PrincipalKind.SERVICE, "service:cli", via="cli")
    call = Call(principal=operator)
    network, address = BanSubject.of("ip", "198.51.100.7/22"), BanSubject.of("ip", "198.51.100.9")
    await platform.manager.put(OperatorBan(network, None, "", "root"), operator, call)
    await platform.manager.put(OperatorBan(address, MINUTE, "", "root"), operator, call)
    await until(lambda: len(platform.bans) == 2)
    inside = BanSubject.of("ip", "198.51.101.1")
    assert [(await platform.manager.get(asked, operator)).subject for asked in (address, inside)] == [address, network.checked()]
    with pytest.raises(BanNotFoundError):
        await platform.manager.lift(inside, operator, call)
    assert [await platform.knock(BEN, f"198.51.{text}") for text in ("100.9", "103.255", "99.9")] == ["BANNED", "BANNED", "in"]
    assert platform.bans.find("198.51.100.9") == ("ip", float("inf"))
    assert platform.followed.left(inside) == LONGEST
    assert platform.followed.left(BanSubject.of("ip", "198.51.99.1")) is None

    await platform.manager.begin(AutomaticBan(BanSubject.of("ip", "198.51.102.1"), "edge.ip", MINUTE, MINUTE))
    await platform.manager.lift(network, operator, call)
    await until(lambda: platform.bans.find("198.51.103.255") is None)
    assert await platform.knock(BEN, "198.51.102.1") == "BANNED"
    assert platform.bans.find("198.51.100.9") == ("ip", 60.0)
    assert platform.followed.left(address) == MINUTE


async def test_the_stream_begins_with_the_whole_list_and_shows_that_it_lives(platform: Platform) -> None:
    """All at first, then changes, and at least a message a second."""
    await platform.manager.begin(AutomaticBan(BanSubject.of("ip", "192.0.2.9"), "edge.ip", MINUTE, MINUTE))
    stream = aiter(RateLimitServiceStub(platform.channel).WatchBans(pb.WatchBansRequest()))
    async with asyncio.timeout(30):
        first = await anext(stream)
        assert (first.complete, [ban.subject for ban in first.bans]) == (True, ["192.0.2.9"])
        assert first.bans[0].remaining.ToTimedelta() == MINUTE
        quiet = await anext(stream)
        assert (quiet.complete, len(quiet.bans), len(quiet.lifted)) == (False, 0, 0)


def _told(level: str, subject: str, left_s: int | None, **more: Any) -> pb.WatchBansResponse:
    ban = pb.Ban(level=level, subject=subject, tenant="default")
    if left_s is not None:
        ban.until.FromSeconds(1)
        ban.remaining.FromSeconds(left_s)
    return pb.WatchBansResponse(bans=[ban], **more)


@pytest.mark.parametrize(
    ("level", "subject", "address", "found"),
    [
        ("ip", "192.0.2.7", "192.0.2.7", True),
        ("ip", "2001:db8:1:2::/64", "2001:db8:1:2::77", True),
        ("ip", "192.0.2.7", "192.0.2.8", False),
        ("ip", "192.0.2.0/24", "192.0.2.255", True),
        ("ip", "192.0.2.0/24", "192.0.3.0", False),
        ("ip", "192.0.0.0/16", "192.0.2.7", True),
        ("ip", "192.0.2.6/31", "192.0.2.7", True),
        ("ip", "2001:db8::/32", "2001:db8:1:2::77", True),
        ("ip", "2001:db8::/48", "2001:db8:1:2::77", False),
        ("ip", "192.0.2.0/24", "local", False),
        ("ip", "192.0.2.0/24", "", False),
        ("user", "192.0.2.0/24", "192.0.2.7", False),
        ("user", "ada", "192.0.2.8", True),
        ("session", "ada-1", "", True),
        ("session", "ada-2", "", False),
        ("tenant", "default", "", True),
        ("user", "ben", "192.0.2.7", False),
    ],
)
def test_each_level_bans_its_own(level: str, subject: str, address: str, found: bool) -> None:
    """By address wherever somebody logs in, by name wherever they come from."""
    bans = BanList()
    bans.take(_told(level, subject, 60))
    assert (bans.find(address, ADA) is not None) is found


def test_the_list_takes_what_it_is_told() -> None:
    """A whole list replaces what was known; changes add to it; time ends bans; one without an end stays."""
    clock = FakeClock()
    bans = BanList(clock.seconds)
    added: list[int] = []
    bans.on_added.append(lambda: added.append(len(bans)))
    bans.take(_told("user", "ada", 60, complete=True))
    bans.take(_told("ip", "192.0.2.7", None))
    assert (len(bans), len(added)) == (2, 2)
    clock.advance(MINUTE)
    assert bans.find("", ADA) is None
    assert bans.find("192.0.2.7") == ("ip", float("inf"))
    with pytest.raises(BannedError) as caught:
        bans.refuse("192.0.2.7")
    assert caught.value.retry_after is None
    bans.take(pb.WatchBansResponse(lifted=[pb.BanSubject(level="ip", subject="192.0.2.7", tenant="default")]))
    assert bans.find("192.0.2.7") is None
    bans.take(_told("user", "cara", 60, complete=True))
    assert len(bans) == 1
