"""Addresses that a DNS server tells, asked directly: SRV records with weights, and servers beside the system's own."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver

from stylobate.discovery import Hint, Places
from stylobate.discovery.names import LOOK_S, wait_for_hint
from stylobate.discovery.target import Target, address_of, port_of

_ANSWER_S = 3.0
_SOONEST_S = 1.0
_PORT = 53


class DnsServer:
    """Asks a DNS server, and again when its answer is too old, at most every second and at least every ten.

    ``dns:///name:port``: every A and AAAA record of the name. ``srv:///name``: the SRV records with the lowest priority, with
    their ports and weights (0 counts as 1), and every address of each of their names.

    :param server: ``192.0.2.53`` or ``192.0.2.53:8600``; empty: the system's.
    :raises OSError: the system names no server.
    """

    is_told = False

    def __init__(self, target: Target, server: str) -> None:
        self._target = target
        self.how = f"{target.scheme} {target.authority}" + (f" at {server}" if server else "")
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not server)
        except dns.exception.DNSException as error:
            raise OSError(f"no DNS server is known: {error}") from error
        if server:
            host, port = server_of(server)
            self._resolver.nameservers = [host]
            self._resolver.port = port
        self._resolver.lifetime = _ANSWER_S
        self._answered: set[tuple[str, str]] = set()
        """Names and kinds of addresses that the server has answered for."""

    async def watch(self, lost: Hint) -> AsyncIterator[Places]:
        """Yield them now and whenever it is time."""
        while True:
            lost.clear()
            try:
                places, ttl = await (self._services() if self._target.scheme == "srv" else self._hosts())
            except dns.exception.DNSException as error:
                raise OSError(f"{self.how}: {_said(error)}") from error
            yield places
            await asyncio.sleep(_SOONEST_S)
            await wait_for_hint(lost, min(max(ttl - _SOONEST_S, 0.0), LOOK_S))

    async def _hosts(self) -> tuple[Places, float]:
        hosts, ttl = await self._addresses(self._target.name)
        return {address_of(host, self._target.port): 1 for host in hosts}, ttl

    async def _services(self) -> tuple[Places, float]:
        answer = await self._resolver.resolve(self._target.name, "SRV", search=False)
        records: list[Any] = list(answer)
        first = min(record.priority for record in records)
        ttl, places = float(answer.rrset.ttl) if answer.rrset else 0.0, dict[str, int]()
        missing: dns.exception.DNSException | None = None
        for record in records:
            if record.priority == first:
                try:
                    hosts, its_ttl = await self._addresses(record.target.to_text())
                except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
                    missing = error  # one that is gone, or has not come: the others are there
                    continue
                ttl = min(ttl, its_ttl)
                places |= {address_of(host, record.port): max(record.weight, 1) for host in hosts}
        if missing is not None and not places:
            raise missing
        return places, ttl

    async def _addresses(self, name: str) -> tuple[list[str], float]:
        """Return every address of a name, and for how many seconds that holds.

        A kind of address for which the server has no answer at all is left out as long as it never had one: some servers know A
        only. One that had, and has none now, is an outage.
        """
        found, ttl, missing = list[str](), LOOK_S, dns.exception.DNSException(name)  # type: ignore[no-untyped-call]
        for kind in ("A", "AAAA"):
            try:
                answer = await self._resolver.resolve(name, kind)
            except dns.resolver.NXDOMAIN:
                raise
            except dns.exception.DNSException as error:
                if not isinstance(error, dns.resolver.NoAnswer) and (name, kind) in self._answered:
                    raise
                missing = error
                continue
            self._answered.add((name, kind))
            records: list[Any] = list(answer)
            found += [record.address for record in records]
            ttl = min(ttl, float(answer.rrset.ttl) if answer.rrset else 0.0)
        if not found:
            raise missing
        return found, ttl


def server_of(text: str) -> tuple[str, int]:
    """Return host and port of ``192.0.2.53``, ``192.0.2.53:8600`` or ``[2001:db8::53]:8600``. Raises ValueError for a name."""
    has_port = text.count(":") == 1 or "]:" in text
    host = (text.rpartition(":")[0] if has_port else text).strip("[]")
    if has_port and not port_of(text):
        raise ValueError(f"{text} names no port")
    return str(ip_address(host)), port_of(text) if has_port else _PORT


def _said(error: dns.exception.DNSException) -> str:
    """Return the first line of what it says."""
    return (str(error).splitlines() or [type(error).__name__])[0]
