"""Storms of new connections: who was served before does not wait for all of them, and each of them is told something."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from stylobate.app import handshakes, request_turns
from stylobate.app import newcomers as newcomers_module
from stylobate.app.connections import Connections
from stylobate.app.handshakes import Handshakes
from stylobate.app.http_bounds import HttpBounds
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind, waiting
from stylobate.app.newcomers import Newcomers
from stylobate.app.request_turns import ADMITTED
from stylobate.app.turning_away import refuse
from stylobate.app.turns import RankedQueue
from stylobate.testing.until import until

from .hall import GREEDY, MODEST, WITHIN_S, opened


def _begin(newcomers: Newcomers) -> int:
    """Let as many begin as may, and return how many there are then."""
    while newcomers.may_begin:
        newcomers.begin()
    return newcomers.count


def test_a_busy_process_works_on_few_newcomers() -> None:
    """While it has time their number grows from look to look, unless the loop is late; while it has none there is a bound."""
    newcomers = Newcomers(is_bounded=True)
    found = [_begin(newcomers)]
    for is_busy, is_late in ((False, False), (False, True), (False, False), (True, False)):
        newcomers.look(is_busy=is_busy, is_late=is_late)
        found.append(_begin(newcomers))
    assert found == [64, 128, 128, 192, 192]
    for _ in range(128):
        newcomers.end(4)
    assert newcomers.may_begin is False
    newcomers.end(2)
    assert _begin(newcomers) == 64


def test_newcomers_that_wait_for_others_make_room() -> None:
    """After five looks they count no longer, and their end changes nothing."""
    newcomers = Newcomers(is_bounded=True)
    _begin(newcomers)
    for _ in range(5):
        newcomers.look(is_busy=True, is_late=False)
    assert newcomers.count == 0
    newcomers.end(5)
    assert newcomers.count == 0


def test_while_no_stranger_may_only_who_is_known_has_a_turn() -> None:
    """A line of strangers holds up nobody of the others."""
    queue = RankedQueue[str]()
    for number in range(5):
        queue.put("s", f"s{number}", is_known=False)
        queue.put("k", f"k{number}", is_known=True)
    assert [queue.pop(may_strangers=False) for _ in range(queue.known_count)] == [f"k{number}" for number in range(5)]
    assert (queue.count, queue.known_count, queue.pop(may_strangers=True)) == (5, 0, "s0")


async def test_a_busy_process_serves_who_is_known_beside_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 90 newcomers 64 are at work and the others wait; a request on a connection that was served before begins at once."""
    monkeypatch.setattr(newcomers_module, "_WAITING_AFTER", 1_000_000)
    loop, may_end = asyncio.get_running_loop(), asyncio.Event()
    begun: list[str] = []
    spinning: Any = None

    def spin() -> None:
        nonlocal spinning
        spinning = loop.call_soon(spin)

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        scope[ADMITTED]()
        begun.append(scope["path"])
        if scope["path"] == "/storm":
            await may_end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    bound = bind("127.0.0.1:0")
    listener = HttpListener(application, bound, grace_s=1)
    await listener.start()
    people = [await asyncio.open_connection(*bound.getsockname()) for _ in range(91)]

    def ask(number: int, path: bytes) -> None:
        people[number][1].write(b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path)

    async def answered(number: int) -> bool:
        async with asyncio.timeout(WITHIN_S):
            return (await people[number][0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")

    try:
        ask(90, b"/known")
        assert await answered(90)
        spin()
        requests = listener._server.server_state.connections.requests  # type: ignore[attr-defined]

        def is_busy() -> bool:
            requests._demand.look()
            return bool(
                requests._demand.share > request_turns._WITHOUT_PAUSE
            )  # turns without work count for a little less than 0.9

        await until(is_busy, within_s=WITHIN_S)
        for number in range(90):
            ask(number, b"/storm")
        await until(lambda: len(begun) > 64, within_s=WITHIN_S)
        look = requests._look
        await until(lambda: requests._look > look + 5, within_s=WITHIN_S)
        assert begun == ["/known", *["/storm"] * 64]
        ask(90, b"/known")
        assert await answered(90)
        assert begun[65:] == ["/known"]
        spinning.cancel()
        may_end.set()
        assert all([await answered(number) for number in range(90)])
    finally:
        if spinning is not None:
            spinning.cancel()
        may_end.set()
        for _, writer in people:
            writer.close()
        await listener.stop()


async def test_newcomers_behind_a_long_line_wait_in_the_backlog_or_are_refused(
    express_for: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not accepted while the line is long; once half of the backlog is full they are told, but who waits behind few."""
    monkeypatch.setattr(request_turns, "_SHORT_LINE", 4)
    monkeypatch.setattr(request_turns, "_LONG_LINE", 4)
    monkeypatch.setattr(request_turns, "_SHORT_QUEUE", 2)
    monkeypatch.setattr(request_turns, "_LASTING_S", 3600.0)
    async with opened(express_for, requests=1) as hall:
        await hall.ask(GREEDY, "/held")
        await hall.has_begun("/held")
        in_line = [(await hall.ask(GREEDY, "/line"))[1] for _ in range(4)]
        requests, listening = hall.connections.requests, hall.listening
        await until(lambda: requests.queue.count == 4, within_s=WITHIN_S)
        listening.listen(8)
        people = [_asking(GREEDY, hall.port) for _ in range(3)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert (waiting(listening), len(hall.connections)) == ((3, 8), 5)
        people += [_asking(address, hall.port) for address in (MODEST, GREEDY)]
        await _told_so([*people[:3], people[4]])
        await until(lambda: requests.queue.count == 5, within_s=WITHIN_S)  # the modest one's
        monkeypatch.setattr(request_turns, "_LASTING_S", -1.0)
        monkeypatch.setattr(request_turns, "_NEWCOMERS_AT_MOST_S", 3600.0)
        people += [_asking(GREEDY, hall.port) for _ in range(2)]  # few are enough once it lasts: next to none ends in a second
        await _told_so(people[-2:])
        monkeypatch.setattr(request_turns, "_NEWCOMERS_AT_MOST_S", 0.0)  # those in the line are told too
        await until(lambda: not requests.queue.count, within_s=WITHIN_S)
        for client in people:
            client.close()
        for writer in in_line:
            writer.close()
        await until(lambda: len(hall.connections) == 1, within_s=WITHIN_S)


async def _told_so(people: list[socket.socket]) -> None:
    for client in people:
        async with asyncio.timeout(WITHIN_S):
            told = await asyncio.get_running_loop().sock_recv(client, 65_536)
        assert told.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"OVERLOADED"' in told
        assert b'"instance":"/late"' in told
        assert b"connection: close" in told


def _asking(address: str, port: int) -> socket.socket:
    """Return a connection whose request is there before it is accepted, as in a storm."""
    client = socket.socket()
    client.bind((address, 0))
    client.connect(("127.0.0.1", port))
    client.sendall(b"POST /late HTTP/1.1\r\nhost: x\r\n\r\n")
    client.setblocking(False)
    return client


def test_the_system_says_how_many_wait_to_be_accepted() -> None:
    """Of how many; a unix socket does not say."""
    with bind("127.0.0.1:0") as bound:
        bound.listen(7)
        people = [socket.create_connection(bound.getsockname()) for _ in range(3)]
        assert waiting(bound) == (3, 7)
        for one in people:
            one.close()
    ours, theirs = _pair()
    assert waiting(ours) is None
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("sent", "status", "body", "is_told"),
    [
        (b"POST /a?b HTTP/1.1\r\nOrigin: https://page\r\n\r\n", b"503", b'"/a"', True),
        (b"HEAD /a HTTP/1.1\r\n\r\n", b"503", b"", True),
        (b"OPTIONS /a HTTP/1.1\r\n\r\n", b"204", b"", True),
        (b"POST /a HTTP/1.1\r\nHost", b"503", b"OVERLOADED", False),
        (b"INVENTED /a HTTP/1.1\r\n\r\n", b"503", b"OVERLOADED", False),
        (b"POST /a HTTP/1.1\r\nOrigin: https://page\nSet-Cookie: a=b\r\n\r\n", b"503", b"OVERLOADED", False),
        (b"POST /a HTTP/1.1\r\nOrigin: https://page\rSet-Cookie: a=b\r\n\r\n", b"503", b"OVERLOADED", False),
    ],
)
def test_what_is_said_at_the_door(sent: bytes, status: bytes, body: bytes, is_told: bool) -> None:
    """As the protocol says it, with what the gateway adds, as far as the request is there and can be read."""
    ours, theirs = _pair()
    theirs.send(sent)
    assert refuse(ours, [(b"server", b"s")], lambda scope: (scope["method"] == "OPTIONS", [(b"allow", b"page")])) is True
    head, _, found = theirs.recv(65_536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert (body in found) if body else not found
    assert (b"allow: page" in head, b"connection: close" in head, theirs.recv(1)) == (is_told, True, b"")
    theirs.close()


def test_nothing_is_said_before_something_is_asked() -> None:
    """The answer could be lost: such a connection is let in, and its request refused when it comes."""
    ours, theirs = _pair()
    assert refuse(ours, [], lambda _: (False, [])) is False
    assert ours.fileno() > 0
    ours.close()
    theirs.close()


def _pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


class Doors:
    """Handshakes whose clients are the other ends of socket pairs."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.connections = Connections(HttpBounds())
        self.handshakes = Handshakes(self.connections, self._begin)
        self.begun: list[tuple[int, str]] = []
        """The turn of the loop, and the address, of each that has begun."""
        self.turn = 0
        self._ends: list[socket.socket] = []

    def come(self, address: str) -> tuple[socket.socket, bool]:
        """Connect from the address; return the client's end and whether it was let in."""
        ours, theirs = _pair()
        self._ends += ours, theirs
        assert self.connections.enter(address) is None
        return theirs, self.handshakes.wait(ours, address)

    async def turns(self, count: int) -> None:
        """Let the loop go round."""
        for _ in range(count):
            self.turn += 1
            await asyncio.sleep(0)

    def bounds_are_over(self) -> None:
        """Let no time be left for a head."""
        self.connections.bounds = HttpBounds(head_s=-1)

    def _begin(self, _accepted: socket.socket, address: str) -> None:
        self.begun.append((self.turn, address))
        self.connections.leave(address)

    def close(self) -> None:
        """Close all ends."""
        for end in self._ends:
            end.close()


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    """Give doors."""
    made = Doors()
    yield made
    made.handshakes.close()
    made.close()


def _count(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"stylobate_http_connections{name}", labels) or 0


async def test_one_handshake_begins_in_a_turn_of_the_loop(doors: Doors) -> None:
    """Of each address one at a time; who has said nothing has no turn and keeps nobody waiting."""
    doors.come(MODEST)
    for number in range(6):
        doors.come(GREEDY if number < 5 else MODEST)[0].send(b"hello")
    await doors.turns(20)
    turns, addresses = zip(*doors.begun, strict=True)
    assert len(set(turns)) == 6
    assert MODEST in addresses[:2]
    assert sorted(addresses) == [GREEDY] * 5 + [MODEST]


async def test_too_many_handshakes_are_closed_before_they_begin(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the bound a newcomer is closed and counted, and nothing of it is kept; those who come later find room again.

    Who would wait behind few is let in: one address alone keeps out nobody but itself.
    """
    monkeypatch.setattr(handshakes, "_MOST_WAITING", 4)
    monkeypatch.setattr(handshakes, "_FEW", 1)
    refused, count = _count("_refused_total", bound="handshakes"), _count("")
    for _ in range(8):
        doors.come(GREEDY)[0].send(b"hello")
    await doors.turns(3)
    theirs, is_let_in = doors.come(GREEDY)
    assert (is_let_in, theirs.recv(1)) == (False, b"")
    assert _count("_refused_total", bound="handshakes") == refused + 1
    assert doors.come(MODEST)[1] is True
    await doors.turns(20)
    assert doors.come(GREEDY)[1] is True
    assert _count("") == count + 2


async def test_a_silent_client_is_closed_in_time(doors: Doors) -> None:
    """As one that does not send the head of its request."""
    cut = _count("_cut_total", cause="head")
    theirs, _ = doors.come(MODEST)
    doors.connections.sweep()
    assert _count("_cut_total", cause="head") == cut
    doors.bounds_are_over()
    doors.connections.sweep()
    assert (_count("_cut_total", cause="head"), theirs.recv(1)) == (cut + 1, b"")


async def test_who_was_accepted_has_its_handshake_when_the_listener_stops(doors: Doors) -> None:
    """Whether its client has spoken or not: nobody else can serve it any more."""
    doors.come(MODEST)
    doors.come(GREEDY)[0].send(b"hello")
    doors.handshakes.close()
    assert sorted(address for _, address in doors.begun) == [GREEDY, MODEST]
