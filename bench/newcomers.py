"""A storm of new connections: each asks one thing and goes. They come at a rate, whatever became of those before them.

``python -m bench.newcomers`` takes jobs as JSON lines on standard input and answers each with a JSON line. A single thread over
``epoll`` and sockets: asyncio would take as much of the machine as the server that is measured. What a connection came to:
answered, refused (503), late (answered or refused after the patience), cut (closed before an answer began), unheard (nothing
until the patience ended: it may not even have been accepted).
"""

import errno
import select
import socket
import ssl
import sys
from collections import Counter, deque
from contextlib import suppress
from statistics import quantiles
from time import perf_counter
from typing import Any

import orjson

_TICK_S = 0.002
_ADDRESSES = 200
_BIND_NO_PORT = 24
"""``IP_BIND_ADDRESS_NO_PORT``: the port is chosen as it connects, which with thousands of them is quicker."""


class _Newcomer:
    __slots__ = ("due", "heard", "is_sent", "is_shaken", "sock")

    def __init__(self, sock: Any, due: float) -> None:
        self.sock, self.due = sock, due
        self.is_shaken = self.is_sent = False
        self.heard = b""


class _Storm:
    """One job."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._at = job["host"], job["port"]
        self._requests = [text.encode() for text in job["requests"]]
        self._tls: ssl.SSLContext | None = None
        if job.get("authority"):  # each context of ours begins each session anew
            self._tls = ssl.create_default_context(cafile=job["authority"])
        self._epoll = select.epoll()
        self._open: dict[int, _Newcomer] = {}
        self._line: deque[_Newcomer] = deque()
        self._came_to: Counter[str] = Counter()
        self._seconds: list[float] = []
        self._count = 0

    def run(self) -> dict[str, Any]:
        job, begun = self._job, perf_counter()
        rate, wanted = job["rate"], int(job["rate"] * job["seconds"])
        while (now := perf_counter()) < begun + job["seconds"] + job["patience_s"]:
            while self._count < wanted and begun + self._count / rate <= now:
                self._connect(begun + self._count / rate)
            if self._count >= wanted and not self._open:
                break
            for descriptor, _ in self._epoll.poll(_TICK_S):
                self._go_on(self._open[descriptor])
            self._give_up(perf_counter() - job["patience_s"])
        for one in tuple(self._open.values()):
            self._end(one, "unheard")
        hundredths = quantiles(self._seconds, n=100) if len(self._seconds) > 1 else [0.0] * 99
        return {
            "offered": self._count / job["seconds"],
            "p50_ms": hundredths[49] * 1000,
            "p99_ms": hundredths[98] * 1000,
            **{name: self._came_to[name] for name in ("answered", "refused", "late", "cut", "unheard", "other")},
        }

    def _connect(self, due: float) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_IP, _BIND_NO_PORT, 1)
        sock.bind((f"127.0.1.{1 + self._count % _ADDRESSES}", 0))
        self._count += 1
        if sock.connect_ex(self._at) not in {0, errno.EINPROGRESS}:
            self._came_to["cut"] += 1
            sock.close()
            return
        newcomer = self._open[sock.fileno()] = _Newcomer(sock, due)
        self._line.append(newcomer)
        self._epoll.register(sock.fileno(), select.EPOLLOUT)

    def _go_on(self, one: _Newcomer) -> None:
        try:
            if not one.is_shaken:
                self._shake(one)
            if not one.is_sent:
                one.sock.send(self._requests[self._count % len(self._requests)])
                one.is_sent = True
                self._epoll.modify(one.sock.fileno(), select.EPOLLIN)
            came = one.sock.recv(65_536)
        except (BlockingIOError, ssl.SSLWantReadError):
            if not one.is_sent:
                self._epoll.modify(one.sock.fileno(), select.EPOLLIN)
        except ssl.SSLWantWriteError:
            self._epoll.modify(one.sock.fileno(), select.EPOLLOUT)
        except OSError:  # those of TLS are too
            self._end(one, "cut")
        else:
            one.heard += came
            if b"\r\n\r\n" in one.heard:
                self._end(one, {b"200": "answered", b"503": "refused"}.get(one.heard[9:12], "other"))
            elif not came:
                self._end(one, "cut")

    def _shake(self, one: _Newcomer) -> None:
        if self._tls is not None:
            if not isinstance(one.sock, ssl.SSLSocket):  # connected now, which wrapping asks for
                one.sock = self._tls.wrap_socket(one.sock, server_hostname="localhost", do_handshake_on_connect=False)
            one.sock.do_handshake()
        one.is_shaken = True

    def _give_up(self, before: float) -> None:
        while self._line and (self._line[0].due < before or self._line[0].sock is None):
            if (one := self._line.popleft()).sock is not None:
                self._end(one, "unheard")

    def _end(self, one: _Newcomer, as_what: str) -> None:
        took = perf_counter() - one.due
        if as_what in {"answered", "refused"} and took > self._job["patience_s"]:
            as_what = "late"
        if as_what == "answered":
            self._seconds.append(took)
        self._came_to[as_what] += 1
        del self._open[one.sock.fileno()]
        with suppress(OSError):
            one.sock.close()
        one.sock = None


def main() -> None:
    """Serve jobs until standard input ends."""
    for line in sys.stdin.buffer:
        sys.stdout.buffer.write(orjson.dumps(_Storm(orjson.loads(line)).run()) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
