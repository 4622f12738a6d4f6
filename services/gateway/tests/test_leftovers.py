"""A request leaves nothing behind for the collector: it runs rarely, and until it comes by memory only grows."""

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client import REGISTRY
from stylobate.testing.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOST = b"host: localhost\r\n"
JSON = b"content-type: application/json\r\n"
REQUESTS = {
    "no such path": b"GET /nothing HTTP/1.1\r\n" + HOST,
    "no such page": b"GET /problems/nothing HTTP/1.1\r\n" + HOST,
    "no such object": b"GET /v1/state/notes/nothing HTTP/1.1\r\n" + HOST + b"authorization: Bearer ada\r\n",
    "no token": b"GET /v1/auth/me HTTP/1.1\r\n" + HOST,
    "no token, an object": b"PUT /v1/state/notes/k HTTP/1.1\r\n" + HOST + JSON + b"content-length: 1\r\n",
    "a token that is none": b"GET /v1/state/notes/k HTTP/1.1\r\n" + HOST + b"authorization: Bearer 123\r\n",
    "another method": b"DELETE /v1/actions/notes.count HTTP/1.1\r\n" + HOST,
    "another method of a route": b"DELETE /v1/auth/login HTTP/1.1\r\n" + HOST,
    "a stranger's name": b"GET / HTTP/1.1\r\nhost: evil.example\r\n",
    "too large": b"POST /v1/actions/notes.count HTTP/1.1\r\n" + HOST + b"content-length: 9999999999\r\n",
    "no JSON": b"POST /v1/auth/login HTTP/1.1\r\n" + HOST + JSON + b"content-length: 1\r\n",
    "no JSON for an action": b"POST /v1/actions/notes.count HTTP/1.1\r\n" + HOST + JSON + b"content-length: 1\r\n",
    "no such action": b"POST /v1/actions/nobody.knows HTTP/1.1\r\n" + HOST,
    "unreadable": b"GET /%ff HTTP/1.1\r\n" + HOST,
    "an answer": b"GET /problems/not-found HTTP/1.1\r\n" + HOST,
    "a small body that stops": b"POST /v1/auth/login HTTP/1.1\r\n" + HOST + JSON + b"content-length: 9000\r\n",
    "a large body that stops": b"POST /v1/actions/notes.count HTTP/1.1\r\n" + HOST + JSON + b"content-length: 90000\r\n",
    "a body of an action that stops": b"POST /v1/actions/notes.count HTTP/1.1\r\n" + HOST + JSON + b"content-length: 9000\r\n",
    "chunks that stop": b"POST /v1/auth/login HTTP/1.1\r\n" + HOST + JSON + b"transfer-encoding: chunked\r\n",
}
TIMES = 8
WITHIN_S = 60


def _gone() -> float:
    found = REGISTRY.restricted_registry(["stylobate_http_requests_total"]).collect()  # asked often, and all of them take time
    asked = {"method": "POST", "status": "499"}
    return sum(sample.value for metric in found for sample in metric.samples if asked.items() <= sample.labels.items())


@contextmanager
def _collected() -> Iterator[Counter[str]]:
    """Count what nobody but the collector would have found in the meantime, by the name of its type."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.freeze()  # what there is already need not be looked through, now or ever: thawed it costs a second each time
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
    finally:
        gc.set_debug(0)
        found.update(type(one).__qualname__ for one in gc.garbage)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("kind", REQUESTS)
async def test_requests_leave_nothing_behind(gateway, kind) -> None:
    """However they end: what is kept of a request dies with it, and so do the exceptions that ended it."""
    head = REQUESTS[kind]
    stops = "stop" in kind
    body = b"1f\r\n" + b" " * 20 if stops else b"1" if b"length: 1\r" in head else b""

    async def ask() -> None:
        loop = asyncio.get_running_loop()  # streams leave things behind themselves
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            before = _gone()
            await loop.sock_sendall(client, head + b"connection: close\r\n\r\n" + body)
            if not stops:
                assert (await loop.sock_recv(client, 65_536)).startswith(b"HTTP/1.1 ")
                while await loop.sock_recv(client, 65_536):
                    pass
        await until(lambda: not (stops and _gone() == before))

    async with asyncio.timeout(WITHIN_S):
        await ask()  # what is made once and kept
        with _collected() as found:
            for _ in range(TIMES):
                await ask()
    ours = {name: count for name, count in found.items() if count >= TIMES // 2}
    assert ours == {}
