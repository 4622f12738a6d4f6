"""Calls to replicas that Consul tells of: of a contract server of our own, no real agent was met."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.app.discovery import DiscoverySettings, Finder
from stylobate.config import ConfigError, Sources
from stylobate.discovery.consul_agent import next_index
from stylobate.health import Status
from stylobate.rpc import TlsSettings, open_channel
from stylobate.testing.authority import Authority
from stylobate.testing.consul_contract import ConsulContract
from stylobate.testing.until import until

from .mux_ends import served, streams, under_load
from .test_breaker import ECHO, outcome

NAME = "consul:///stylobate-probe"


def port_of(made: Any) -> int:
    """Return the port of a served probe."""
    return int(made.target.rpartition(":")[2])


def finder_of(**environ: str) -> Finder:
    """Return a finder with these settings."""
    named = {f"STYLOBATE_{name.upper()}": value for name, value in environ.items()}
    return Finder(DiscoverySettings.load(Sources(named, ())))


@asynccontextmanager
async def found(contract: ConsulContract, *, mux: bool = True, **environ: str) -> AsyncIterator[tuple[Any, Finder]]:
    """Give a channel to the probe that the contract server tells of."""
    finder = finder_of(discovery="consul", consul_url=contract.url, **environ)
    try:
        async with open_channel(NAME, mux=mux, whereabouts=finder.find("probe", NAME)) as channel:
            yield channel, finder
    finally:
        await finder.close()


async def test_replicas_come_and_go_under_load():
    """One comes, one goes, and no call fails; a check that runs out counts as gone."""
    async with ConsulContract.run() as consul, served() as one, served() as other, found(consul) as (channel, finder):
        await consul.put("stylobate-probe", port_of(one))
        await until(lambda: outcome(channel), lambda said: said == "there")
        await until(lambda: len(streams(channel)) == 1)
        async with under_load(channel) as answers:
            await consul.put("stylobate-probe", port_of(other))
            await until(lambda: len(streams(channel)) == 2)
            await consul.expire(f"stylobate-probe-{port_of(one)}")
            await until(lambda: len(streams(channel)) == 1)
        assert set(answers) == {"there"}
        (shown,) = finder.shown().values()
        assert shown["addresses"] == {f"ipv4:127.0.0.1:{port_of(other)}": 1}
        assert all(wait == ("20s" if index else "") for index, wait in consul.asked)


@pytest.mark.parametrize("mux", [False, True], ids=["plain", "mux"])
async def test_what_was_known_is_kept(mux: bool):
    """While Consul is gone, and when it forgot everything, calls go on to who was known; health says so; then all is well."""
    async with ConsulContract.run() as consul, served() as one, found(consul, mux=mux) as (channel, finder):
        await consul.put("stylobate-probe", port_of(one))
        await until(lambda: outcome(channel), lambda said: said == "there")
        await consul.stop()
        await until(lambda: finder.health().status is Status.DEGRADED)
        assert "does not answer" in finder.health().details
        assert "the 1 addresses known before are used" in finder.health().details
        assert await outcome(channel) == "there"
        await consul.forget()
        await consul.start(int(consul.url.rpartition(":")[2]))
        await until(lambda: "nobody is there" in finder.health().details)
        assert await outcome(channel) == "there"
        await consul.put("stylobate-probe", port_of(one))  # with an index below those of before
        await until(lambda: finder.health().status is Status.HEALTHY)


async def test_consul_away_at_start():
    """Calls fail and say whose address is not known, and the log says what is waited for; then they are answered."""
    async with ConsulContract.run() as consul, served() as one:
        await consul.stop()
        with capture_logs() as lines:
            async with found(consul) as (channel, _):
                assert await outcome(channel) == "UNAVAILABLE"
                await until(lambda: any(line["event"] == "discovery_interrupted" for line in lines))
        line = next(line for line in lines if line["event"] == "discovery_interrupted")
        assert line["cause"].startswith(f"Consul at {consul.url} does not answer")
        assert line["meanwhile"] == "calls to it fail until it is found"
        async with found(consul) as (channel, _):
            assert await outcome(channel) == "UNAVAILABLE"
            await consul.start(int(consul.url.rpartition(":")[2]))
            await consul.put("stylobate-probe", port_of(one))
            await until(lambda: outcome(channel), lambda said: said == "there")


async def test_a_token_that_is_refused_is_named():
    """The setting stands in health; with the right token the service is found."""
    async with ConsulContract.run() as consul, served() as one:
        await consul.put("stylobate-probe", port_of(one))
        consul.token = "right"
        async with found(consul, consul_token="wrong") as (channel, finder):
            await outcome(channel)
            await until(lambda: "refuses STYLOBATE_CONSUL_TOKEN" in finder.health().details)
            assert finder.health().details.endswith("no address is known yet")
            assert "wrong" not in finder.health().details.partition("refuses")[2]
        async with found(consul, consul_token="right") as (channel, _):
            await until(lambda: outcome(channel), lambda said: said == "there")


async def test_an_agent_that_speaks_tls(tmp_path: Path):
    """Its certificate is checked against the authority that is named; another one's is not believed."""
    agent, other = Authority(tmp_path), tmp_path / "other"
    other.mkdir()
    context = TlsSettings(None, *agent.issue("agent")).server_context("http/1.1")
    async with ConsulContract.run(context) as consul, served() as one:
        await consul.put("stylobate-probe", port_of(one))
        async with found(consul, consul_authority=str(agent.file)) as (channel, _):
            await until(lambda: outcome(channel), lambda said: said == "there")
        async with found(consul, consul_authority=str(Authority(other).file)) as (channel, finder):
            await outcome(channel)
            await until(lambda: "STYLOBATE_CONSUL_AUTHORITY says whom to trust" in finder.health().details)
    with pytest.raises(ConfigError, match=r"STYLOBATE_CONSUL_AUTHORITY: .*nowhere"):
        finder_of(discovery="consul", consul_url=consul.url, consul_authority="nowhere").find("probe", NAME)


async def test_weights_share_the_calls():
    """One with three times the weight gets three times the calls."""
    async with ConsulContract.run() as consul, served() as light, served() as heavy, found(consul) as (channel, _):
        await consul.put("stylobate-probe", port_of(light), weight=1)
        await consul.put("stylobate-probe", port_of(heavy), weight=3)
        await until(lambda: outcome(channel), lambda said: said == "there")
        await until(lambda: len(set(streams(channel))) == 2)
        before = {stream: stream._last_id for stream in streams(channel)}
        for _ in range(130):
            await ModuleServiceStub(channel).CallHook(ECHO, timeout=10)
        few, many = sorted(stream._last_id - before[stream] for stream in before)
        assert few + many == 130
        assert few in range(25, 36)


@pytest.mark.parametrize(
    ("before", "told", "waits_on"),
    [("", "7", "7"), ("7", "9", "9"), ("9", "9", "9"), ("9", "3", ""), ("", "0", ""), ("5", "-1", ""), ("5", "x", "")],
)
def test_the_index(before: str, told: str, waits_on: str):
    """One that goes back begins anew, and one that is none is not waited on: Consul asks its clients for that."""
    assert next_index(before, told) == waits_on


@pytest.mark.parametrize("address", ["consul:///stylobate-state:9090", "srv:///", "nowhere", "srv:name"])
async def test_addresses_that_are_none(address: str):
    """They are refused with the setting that names them."""
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_ADDRESS"):
        finder_of().find("state", address)


async def test_nobody_is_followed_elsewhere():
    """What answers in place of the agent with another address gets no request there: the token would go along."""
    asked = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.headers.get("X-Consul-Token"))
        return web.json_response([])

    async with ConsulContract.run() as consul, listening(elsewhere) as other:
        consul.sends_to = other
        finder = finder_of(discovery="consul", consul_url=consul.url, consul_token="hush")
        whereabouts = finder.find("probe", NAME)
        whereabouts.listen(lambda _places: None)
        await until(lambda: "sends us elsewhere" in finder.health().details)
        assert asked == []
        await finder.close()


@asynccontextmanager
async def listening(handler: Any) -> AsyncIterator[str]:
    """Answer every request; give the address."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
