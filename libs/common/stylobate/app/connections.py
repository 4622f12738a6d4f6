"""The open connections of one listener: how many, whose, how long each may take, and what all of them hold together.

One look a second over all connections stands in for timers of each: a request costs no timer. A deadline is therefore
kept to within a second.
"""

import asyncio
from collections import Counter
from typing import Any, Protocol

from stylobate.app.budget import Budget, Holder
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.http_rules import FULL, FULL_ADDRESS, UNREADABLE
from stylobate.app.joined_writes import TurnEnd
from stylobate.app.request_turns import RequestTurns, TurnedAway
from stylobate.app.strangers import Strangers
from stylobate.app.turns import ReadingTurns
from stylobate.bounded_dict import BoundedDict
from stylobate.errors import StylobateError
from stylobate.http.asgi import Headers, Scope
from stylobate.identity import ClientAddresses, limit_key
from stylobate.identity.client_address import LOCAL
from stylobate.logs import get_logger
from stylobate.telemetry import counter, gauge

_MOST_STRIKES = 100
_MOST_HEADS = 1024
_STRIKES_FOR_S = 10.0
_LOG_AGAIN_S = 10.0
_log = get_logger("security")


def _tells_nothing(_scope: Scope) -> tuple[bool, Headers]:
    return False, []


class Connection(Holder, Protocol):
    """What the register asks of a connection that speaks HTTP."""

    @property
    def is_working(self) -> bool:
        """Return whether the application is still busy with what was asked on it."""

    def check(self, now: float) -> None:
        """End the connection when a deadline of it has passed."""

    def end(self, cause: str) -> None:
        """Drop the connection."""


class Connections(set[Any]):
    """uvicorn's set of open connections, WebSockets among them, with bounds. See the module."""

    def __init__(
        self,
        bounds: HttpBounds,
        *,
        most: int | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        """Begin empty.

        :param most: connections that the file descriptors of the process allow, where these are fewer than the bounds'.
        """
        super().__init__()
        self.bounds = bounds
        self.turned_away = turned_away or _tells_nothing
        self.most = bounds.connections if most is None else min(most, bounds.connections)
        self.received = Budget(bounds.held_bytes, self.whose, sending=False)
        self.unsent = Budget(bounds.unsent_bytes, self.whose, sending=True)
        self.is_draining = False
        """Whether the listener stops: what is asked now is answered, and the connection closed after it."""
        self._loop = loop or asyncio.get_running_loop()
        self.reading = ReadingTurns(self._loop)
        self.heads: BoundedDict[bytes, Any] = BoundedDict(_MOST_HEADS)
        """Heads that are known by heart, see :mod:`stylobate.app.http_by_heart`."""
        self.turn_end = TurnEnd(self._loop)
        self.requests = RequestTurns(self._loop, bounds.beginning, bounds.requests)
        self._peers = ClientAddresses(bounds.trusted_proxies)
        self._speaking: set[Connection] = set()
        self._peer_of: dict[Any, str] = {}
        """By connection that speaks, the address of its peer."""
        self._left_at_work: dict[Any, str] = {}
        self._count = 0
        self._by_address: Counter[str] = Counter()
        self._strikes: Counter[str] = Counter()
        self._strikes_since = 0.0
        self._refused: Counter[str] = Counter()
        self._next_line = 0.0
        self.strangers = Strangers(bounds.strangers)
        self._open = gauge("http_connections", "Open connections of the HTTP listeners, WebSockets among them.")
        self._refusals = counter("http_connections_refused", "Connections turned away, by the bound.", ("bound",))
        self._cut = counter("http_connections_cut", "Connections ended by the server, by the cause.", ("cause",))

    # who comes and goes

    def address_of(self, peer: str) -> str:
        """Return the address of a peer, as :mod:`stylobate.identity.client_address` writes it."""
        return self._peers.of(peer)

    def enter(self, address: str) -> StylobateError | None:
        """Count a connection that was accepted, or say why it must go. Who entered leaves, see :meth:`leave`.

        :param address: see :meth:`address_of`.
        """
        key = limit_key(address)
        if self._count >= self.most:
            return self._turned_away("process", FULL, key)
        if self._by_address[key] >= self.bounds.connections_per_address and self._is_bounded(address):
            return self._turned_away("address", FULL_ADDRESS, key)
        if self._strikes and self._strikes[key] > _MOST_STRIKES:
            return self._turned_away("unreadable", UNREADABLE, key)
        self._count += 1
        self._by_address[key] += 1
        self._open.inc()
        return None

    def has_soon_turn(self, address: str) -> bool:
        """Return whether a request from there on a new connection would wait behind few."""
        return self.requests.has_soon_turn(limit_key(address))

    def leave(self, address: str) -> None:
        """Forget a connection that entered."""
        key = limit_key(address)
        self._count -= 1
        self._open.dec()
        self._by_address[key] -= 1
        if self._by_address[key] <= 0:
            del self._by_address[key]

    def bring(self, connection: Any, address: str) -> None:
        """Take in the connection that speaks for who entered."""
        self._peer_of[connection] = address
        self._speaking.add(connection)
        if self._is_bounded(address):
            self.strangers.add(limit_key(address), connection)

    def hand_over(self, old: Any, new: Any) -> None:
        """Let another protocol speak on the same connection from now on."""
        self._forget(old)
        super().discard(old)
        self._peer_of[new] = self._peer_of.pop(old)

    def part(self, connection: Any) -> str:
        """Forget a connection in whose place another is brought, and return its address."""
        self._forget(connection)
        return self._peer_of.pop(connection)

    def turn_away(self, bound: str) -> None:
        """Count a connection that has entered and is turned away after all."""
        self._refusals.labels(bound).inc()
        self._refused[bound] += 1

    def discard(self, connection: Any) -> None:
        """Forget a connection that was lost, whoever spoke on it. It counts until what was asked on it has ended."""
        super().discard(connection)
        self._forget(connection)
        address = self._peer_of.pop(connection, None)
        if address is None:
            return
        if getattr(connection, "is_working", False):  # a WebSocket's protocol does not say
            self._left_at_work[connection] = address
        else:
            self.leave(address)

    def has_ended_work(self, connection: Connection) -> None:
        """Count a connection no longer that was lost while the application was busy with it."""
        address = self._left_at_work.pop(connection, None)
        if address is not None:
            self.leave(address)

    def _forget(self, connection: Any) -> None:
        self._speaking.discard(connection)
        self.strangers.remove(self.whose(connection), connection)
        self.received.release(connection)
        self.unsent.release(connection)

    # how they do

    def sweep(self) -> None:
        """Look at every connection that speaks HTTP; call it once a second."""
        now = self._loop.time()
        for connection in tuple(self._speaking):
            connection.check(now)
        if now - self._strikes_since >= _STRIKES_FOR_S:
            self._strikes.clear()
            self._strikes_since = now
        if self._refused and now >= self._next_line:
            _log.warning("connections_refused", **self._refused, open=self._count, most=self.most)
            self._refused.clear()
            self._next_line = now + _LOG_AGAIN_S

    def cut(self, cause: str) -> None:
        """Count a connection that is ended."""
        self._cut.labels(cause).inc()

    def is_patient_with(self, connection: Any) -> bool:
        """Count an unreadable request of the connection's address; False when it has sent too many to be answered.

        Its further connections are turned away then, until it is forgotten. A proxy's are its clients'.
        """
        if not self._is_bounded(self._peer_of.get(connection, LOCAL)):
            return True
        key = self.whose(connection)
        self._strikes[key] += 1
        return self._strikes[key] <= _MOST_STRIKES

    def whose(self, connection: Any) -> str:
        """Return whom a connection is counted for."""
        return limit_key(self._peer_of.get(connection, LOCAL))

    def _is_bounded(self, address: str) -> bool:
        """Return whether what one address may do holds for it: not for a proxy, which brings many clients, nor a unix socket."""
        return address != LOCAL and not self._peers.trusts(address)

    def _turned_away(self, bound: str, refusal: StylobateError, key: str) -> StylobateError:
        self.turn_away(bound)
        if not self._by_address[key]:
            del self._by_address[key]
        return refusal
