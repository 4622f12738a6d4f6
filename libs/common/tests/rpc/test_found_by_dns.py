"""Calls to replicas that a DNS server tells of: a real one, of `dnslib`, with the records that a test gives it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from dnslib import QTYPE, RCODE, RR
from dnslib.server import DNSLogger, DNSServer
from pydantic import ValidationError
from stylobate.app.discovery import DiscoverySettings, Finder
from stylobate.discovery.names import TOLD
from stylobate.health import Status
from stylobate.rpc import open_channel
from stylobate.testing.until import until

from .mux_ends import served, streams, under_load
from .test_breaker import outcome
from .test_found_by_consul import port_of

HOST = "probe.test."
SERVICE = "_grpc._tcp.probe.test."


class Zone:
    """Answers from records that may change."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.broken: set[str] = set()
        """Kinds of records that it fails to answer for."""

    def resolve(self, request: Any, _: Any) -> Any:
        """Answer one question."""
        reply, known = request.reply(), [record for text in self.records for record in RR.fromZone(text)]
        of_name = [record for record in known if record.rname == request.q.qname]
        for record in of_name:
            if record.rtype == request.q.qtype:
                reply.add_answer(record)
        if not of_name:
            reply.header.rcode = RCODE.NXDOMAIN
        assert QTYPE[request.q.qtype] in {"A", "AAAA", "SRV"}
        if QTYPE[request.q.qtype] in self.broken:
            reply.header.rcode, reply.rr = RCODE.SERVFAIL, []
        return reply


@contextmanager
def dns(*records: str) -> Iterator[tuple[Zone, str]]:
    """Run a server; give its zone and address."""
    zone = Zone()
    zone.records += records
    server = DNSServer(zone, address="127.0.0.1", port=0, logger=DNSLogger("-request,-reply,-truncated,-error"))
    server.start_thread()
    try:
        yield zone, f"127.0.0.1:{server.server.server_address[1]}"
    finally:
        server.stop()
        server.server.server_close()
        server.thread.join()


@asynccontextmanager
async def found(target: str, server: str) -> AsyncIterator[tuple[Any, Finder]]:
    """Give a channel to what the server tells of."""
    finder = Finder(DiscoverySettings(dns_server=server))
    try:
        async with open_channel(target, mux=True, whereabouts=finder.find("probe", target)) as channel:
            yield channel, finder
    finally:
        await finder.close()


async def test_services_come_and_go_under_load():
    """SRV records bring ports and weights; those of a higher priority value are not used; no call fails when they change."""
    async with served() as one, served() as other:
        first = f"{SERVICE} 0 IN SRV 1 30 {port_of(one)} {HOST}"
        second = f"{SERVICE} 0 IN SRV 1 10 {port_of(other)} {HOST}"
        spare = f"{SERVICE} 0 IN SRV 2 10 9 {HOST}"
        with dns(f"{HOST} 0 IN A 127.0.0.1", first, spare) as (zone, server):
            async with found("srv:///_grpc._tcp.probe.test", server) as (channel, finder):
                await until(lambda: outcome(channel), lambda said: said == "there")
                await until(lambda: len(streams(channel)) == 1)
                async with under_load(channel) as answers:
                    zone.records.append(second)
                    await until(lambda: len(set(streams(channel))) == 2)
                    (shown,) = finder.shown().values()
                    assert sorted(shown["addresses"].values()) == [10, 30]
                    zone.records.remove(first)
                    await until(lambda: len(set(streams(channel))) == 1)
                assert set(answers) == {"there"}


async def test_a_server_that_fails_for_one_kind_of_address():
    """AAAA that never were answered hide no A; A that were answered before and are not now are an outage, and are kept."""
    async with served() as one:
        with dns(f"{HOST} 0 IN A 127.0.0.1") as (zone, server):
            zone.broken.add("AAAA")
            async with found(f"dns:///{HOST}:{port_of(one)}", server) as (channel, finder):
                await until(lambda: outcome(channel), lambda said: said == "there")
                assert finder.health().status is Status.HEALTHY
                zone.broken, zone.records = {"A"}, [*zone.records, f"{HOST} 0 IN AAAA ::1"]
                await until(lambda: finder.health().status is Status.DEGRADED)
                (shown,) = finder.shown().values()
                assert [*shown["addresses"]] == [f"ipv4:127.0.0.1:{port_of(one)}"]


async def test_a_service_whose_name_is_gone_hides_no_others():
    """The records of a name go before those of the service, or come after them; where all are gone there is nobody."""
    async with served() as one:
        there, gone = [f"{SERVICE} 0 IN SRV 1 1 {port_of(one)} {host}" for host in (HOST, "gone.test.")]
        with dns(f"{HOST} 0 IN A 127.0.0.1", gone, there) as (zone, server):
            async with found("srv:///_grpc._tcp.probe.test", server) as (channel, finder):
                await until(lambda: outcome(channel), lambda said: said == "there")
                zone.records.remove(there)
                await until(lambda: "does not exist" in finder.health().details)


async def test_every_address_of_a_name_is_used_and_kept():
    """A name that a server of our own choice tells; once that answers no more, or knows nobody, who was known is called on."""
    async with served() as one:
        with dns(f"{HOST} 0 IN A 127.0.0.1", f"{HOST} 0 IN A 127.0.0.2") as (zone, server):
            async with found(f"dns:///probe.test:{port_of(one)}", server) as (channel, finder):
                await until(lambda: outcome(channel), lambda said: said == "there")
                (shown,) = finder.shown().values()
                assert set(shown["addresses"]) == {f"ipv4:127.0.0.{host}:{port_of(one)}" for host in (1, 2)}
                zone.records.clear()
                await until(lambda: finder.health().status is Status.DEGRADED)
                assert "does not exist" in finder.health().details
                assert await outcome(channel) == "there"


async def test_what_the_system_finds_is_shown():
    """Where the name is gRPC's to look up as well; an address needs no looking up, whatever server is asked for names."""
    async with served() as one:
        async with found(f"dns:///localhost:{port_of(one)}", "") as (channel, finder):
            await until(lambda: outcome(channel), lambda said: said == "there")
            assert finder.shown()["probe"]["how"] == f"dns localhost:{port_of(one)}"
            assert f"ipv4:127.0.0.1:{port_of(one)}" in finder.shown()["probe"]["addresses"]
        async with found(one.target, "127.0.0.1:9") as (channel, finder):
            assert await outcome(channel) == "there"
            assert finder.shown()["probe"] == {"how": TOLD, "addresses": {f"ipv4:{one.target}": 1}, "trouble": ""}


@pytest.mark.parametrize("server", ["nameserver", "127.0.0.1:x", "127.0.0.1:0"])
def test_servers_that_are_none(server: str):
    """A name needs a server itself, and is refused."""
    with pytest.raises(ValidationError):
        DiscoverySettings(dns_server=server)
