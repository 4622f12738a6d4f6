"""Watches of state over HTTP: server-sent events, from the request to the end of the stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from stylobate.api.ratelimit.v1.ratelimit_service_pb2 import Ban, WatchBansResponse
from stylobate.testing.server_events import ServerEvent, ServerEventReader
from stylobate.testing.until import until

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada"}


class Stream:
    """An open stream."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self._lines = answer.aiter_lines()
        self._reader = ServerEventReader()

    async def next(self) -> ServerEvent:
        """Return the next event that tells something."""
        async with asyncio.timeout(30):
            async for line in self._lines:
                event = self._reader.line(line)
                if event is not None and event.kind:
                    return event
        raise AssertionError("the stream has ended")


@asynccontextmanager
async def watching(gateway: Any, path: str, **headers: str) -> AsyncIterator[Stream]:
    """Open a stream."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with gateway.http.stream("GET", f"/v1/state/notes{path}", headers=ADA | named) as answer:
        assert answer.status_code == 200, await answer.aread()
        yield Stream(answer)


async def put(gateway: Any, key: str, number: int) -> None:
    """Write an object."""
    answer = await gateway.http.put(f"/v1/state/notes/{key}", json={"data": {"n": number}}, headers=ADA)
    assert answer.status_code == 200, answer.text


async def test_an_object_is_followed(gateway) -> None:
    """Snapshot, change, change; each with its id, and from the last id on a new stream goes on without either."""
    await put(gateway, "followed", 1)
    async with watching(gateway, "/followed/watch", accept_encoding="gzip") as stream:
        headers = stream.answer.headers
        assert headers["content-type"].startswith("text/event-stream")
        assert (headers["cache-control"], headers.get("content-encoding")) == ("no-store", None)
        begun = await stream.next()
        assert begun.kind == "snapshot"
        assert (begun.data["part"], begun.data["complete"]) == (1, True)
        assert [(item["key"], item["data"]) for item in begun.data["items"]] == [("followed", {"n": 1})]
        await put(gateway, "other", 1)
        await put(gateway, "followed", 2)
        changed = await stream.next()
        assert changed.kind == "change"
        shown = {name: changed.data[name] for name in ("namespace", "key", "version", "change", "data", "actor")}
        assert shown == {
            "namespace": "notes", "key": "followed", "version": 2, "change": "updated", "data": {"n": 2}, "actor": "ada",
        }  # fmt: skip
        history = (await gateway.http.get("/v1/state/notes/followed/history", headers=ADA)).json()["items"][0]
        assert {name: changed.data[name] for name in history} == history
    await gateway.http.delete("/v1/state/notes/followed", headers=ADA)
    async with watching(gateway, "/followed/watch", last_event_id=begun.id) as stream:
        assert [(one.kind, one.data["version"]) for one in (await stream.next(), await stream.next())] == [
            ("change", 2),
            ("change", 3),
        ]
    async with watching(gateway, "/watch", last_event_id=begun.id) as stream:
        assert (await stream.next()).data == {"reason": "OTHER_WATCH"}
        assert (await stream.next()).kind == "snapshot"


async def test_what_is_asked_wrongly_is_a_problem(gateway, is_problem) -> None:
    """Refusals come before the stream, as everywhere; `watch` is no key."""
    get = gateway.http.get
    is_problem(await get("/v1/state/nowhere/watch", headers=ADA), 404, "STATE_NAMESPACE_UNKNOWN")
    is_problem(await get("/v1/state/notes/watch?status=none", headers=ADA), 422, "INVALID_INPUT")
    is_problem(await get("/v1/state/notes/watch?total=7", headers=ADA), 422, "INVALID_INPUT")
    is_problem(await get("/v1/state/notes/watch?filter[total][gte]=7", headers=ADA), 422, "INVALID_INPUT")
    is_problem(await get("/v1/state/notes/watch?filter=7", headers=ADA), 422, "INVALID_INPUT")
    is_problem(await get("/v1/state/notes/1/watch?filter[total][gte]=7", headers=ADA), 422, "INVALID_INPUT")
    is_problem(await get("/v1/state/notes/watch", headers=ADA | {"last-event-id": "7"}), 422, "POSITION_INVALID")
    is_problem(await get("/v1/state/notes/%20/watch", headers=ADA), 422, "STATE_KEY_INVALID")
    refused = await gateway.http.put("/v1/state/notes/watch", json={"data": {}}, headers=ADA)
    is_problem(refused, 405, "METHOD_NOT_ALLOWED")
    assert refused.headers["allow"] == "GET, HEAD, OPTIONS"


async def test_a_head_has_no_stream(gateway) -> None:
    """The header fields of a GET, and the answer is over."""
    answer = await gateway.http.head("/v1/state/notes/watch", headers=ADA)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "content-length" not in answer.headers


async def test_pages_of_other_origins_may_come_back(gateway) -> None:
    """A page may send Last-Event-ID with a token, and may read the stream."""
    asks = {"origin": "http://localhost:5173", "access-control-request-method": "GET"}
    asked = asks | {"access-control-request-headers": "authorization,last-event-id"}
    assert (await gateway.http.options("/v1/state/notes/watch", headers=asked)).status_code == 200
    async with watching(gateway, "/watch", origin="http://localhost:5173") as stream:
        assert "access-control-allow-origin" in stream.answer.headers


async def test_watches_are_bounded_and_who_leaves_makes_room(run_gateway, is_problem) -> None:
    """The second of one is refused for now; when the first client has gone away another comes in."""
    async with run_gateway(watches=1) as gateway:
        async with watching(gateway, "/watch") as stream:
            await stream.next()
            refused = await gateway.http.get("/v1/state/notes/watch", headers=ADA)
            is_problem(refused, 503, "WATCHES_FULL")
            assert int(refused.headers["retry-after"]) >= 1

        async def status() -> int:
            return int((await gateway.http.head("/v1/state/notes/watch", headers=ADA)).status_code)

        await until(status, lambda found: found == 200)


async def test_a_stop_says_goodbye(run_gateway) -> None:
    """When the process stops the stream ends with the reason and the time to come back after; none begins any more."""
    async with run_gateway() as gateway:
        async with watching(gateway, "/watch") as stream:
            await stream.next()
            gateway.app.stopping.set()
            event = await stream.next()
            assert (event.kind, event.data["code"]) == ("end", "UNAVAILABLE")
            assert 500 <= int(event.retry) <= 3000
        assert (await gateway.http.get("/v1/state/notes/watch", headers=ADA)).status_code == 503


async def test_a_state_service_that_restarts_is_not_noticed(run_gateway) -> None:
    """Its stream is begun again from the last position: each change comes once."""
    async with run_gateway() as gateway:
        await put(gateway, "kept", 1)
        async with watching(gateway, "/watch") as stream:
            await stream.next()
            for number in range(2, 5):
                await gateway.app._server.stop(0.0)
                await gateway.app._server.start()
                await put(gateway, "kept", number)
                assert (await stream.next()).data["version"] == number


async def test_a_refusal_in_the_middle_ends_the_stream(run_gateway) -> None:
    """Who is banned hears why, and no more."""
    async with run_gateway() as gateway, watching(gateway, "/watch") as stream:
        await stream.next()
        gateway.app.bans.take(WatchBansResponse(bans=[Ban(level="user", tenant="default", subject="ada")]))
        event = await stream.next()
        assert (event.kind, event.data["code"]) == ("end", "BANNED")
