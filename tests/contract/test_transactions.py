"""Several objects at once, and one object by many, over HTTP on a running platform."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

CLIENTS = 8


@pytest_asyncio.fixture
async def http(platform: Platform, tokens: dict[str, str]) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client with a token."""
    headers = {"authorization": f"Bearer {tokens['user']}"}
    limits = httpx.Limits(max_connections=200)
    async with httpx.AsyncClient(base_url=platform.gateway, headers=headers, timeout=60, limits=limits, verify=NO_TLS) as client:
        yield client


async def transact(http: httpx.AsyncClient, operations: list[dict[str, Any]], key: str = "") -> httpx.Response:
    """Send a transaction."""
    headers = {"idempotency-key": key} if key else {}
    return await http.post("/v1/state/transactions", json={"operations": operations}, headers=headers)


def box(op: str, key: str, **members: Any) -> dict[str, Any]:
    """Return an operation on a box."""
    return {"op": op, "namespace": "box", "key": key, **members}


async def test_a_transaction_answers_with_every_object(http: httpx.AsyncClient) -> None:
    """All four operations, with the objects as they stand; sent again with its key the same answer comes again."""
    made = await transact(http, [box("put", f"all-{name}", data={"n": 1.50}, if_version=0) for name in "abcd"])
    assert made.status_code == 200, made.text
    operations = [
        box("put", "all-a", data={"n": 2}, if_version=1),
        box("patch", "all-b", data={"m": 1}),
        box("transition", "all-c", event="close"),
        box("delete", "all-d", if_version=1),
    ]
    first, again = [await transact(http, operations, key="all-of-it") for _ in range(2)]
    assert (first.status_code, first.text) == (200, again.text)
    assert again.headers["idempotency-replayed"] == "true"
    told = [(one["key"], one["version"], one["status"], one["data"], one["deleted"]) for one in first.json()["results"]]
    assert told == [
        ("all-a", 2, "open", {"n": 2}, False),
        ("all-b", 2, "open", {"n": 1.5, "m": 1}, False),
        ("all-c", 2, "closed", {"n": 1.5}, False),
        ("all-d", 2, "open", None, True),
    ]
    assert [(await http.get(f"/v1/state/box/all-{name}")).status_code for name in "abcd"] == [200, 200, 200, 404]


@pytest.mark.parametrize(
    ("bad", "status", "code", "pointers"),
    [
        ({"op": "put", "namespace": "box", "key": "x"}, 422, "INVALID_INPUT", ["/operations/1"]),
        ({"op": "merge", "namespace": "box", "key": "x", "data": 1}, 422, "INVALID_INPUT", ["/operations/1/op"]),
        ({"op": "delete", "namespace": "box", "key": "x", "data": 1}, 422, "INVALID_INPUT", ["/operations/1"]),
        (
            {"op": "put", "namespace": "box", "key": "x", "data": 1, "if_version": -1},
            422,
            "INVALID_INPUT",
            ["/operations/1/if_version"],
        ),
        ({"op": "put", "namespace": "box", "key": "bad-0", "data": 1}, 422, "INVALID_INPUT", ["/operations/1/key"]),
        ({"op": "put", "namespace": "box", "key": "a/b", "data": 1}, 422, "STATE_KEY_INVALID", ["/operations/1/key"]),
        (
            {"op": "put", "namespace": "box", "key": "x", "data": "x" * 270_000},
            422,
            "STATE_DATA_INVALID",
            ["/operations/1/data"],
        ),
        ({"op": "put", "namespace": "kept", "key": "x", "data": 1}, 403, "PERMISSION_DENIED", []),
        ({"op": "put", "namespace": "none", "key": "x", "data": 1}, 404, "STATE_NAMESPACE_UNKNOWN", []),
        ({"op": "put", "namespace": "box", "key": "x", "data": 1, "if_version": 3}, 412, "STATE_VERSION_CONFLICT", []),
    ],
    ids=["no data", "no such op", "too much", "version", "twice", "key", "data", "denied", "no namespace", "stale"],
)
async def test_what_is_refused_says_where(
    http: httpx.AsyncClient, bad: dict[str, Any], status: int, code: str, pointers: list[str]
) -> None:
    """A problem names the operation by its index and the place in the body; nothing is written."""
    first = box("put", "bad-0", data={})
    answer = await transact(http, [first, bad])
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert [found["pointer"] for found in problem.get("errors", [])] == pointers
    if code != "INVALID_INPUT" or bad["key"] == "bad-0":
        assert problem["metadata"]["index"] == "1"
    assert (await http.get("/v1/state/box/bad-0")).status_code == 404


async def test_transactions_in_opposite_orders_with_stale_versions(http: httpx.AsyncClient) -> None:
    """Eight clients over the same 50 objects, every third transaction stale: each is there whole or not at all, by the history.

    Single changes and creations come in between. Nobody is answered with a defect, and nobody waits in a circle.
    """
    await _clash(http, rounds=3)


@pytest.mark.soak
async def test_transactions_in_opposite_orders_for_long(http: httpx.AsyncClient) -> None:
    """The same with many more rounds."""
    await _clash(http, rounds=60)


async def _clash(http: httpx.AsyncClient, rounds: int) -> None:
    every = [f"{rounds}-{number:02}" for number in range(50)]
    await transact(http, [box("put", key, data={"by": "nobody"}) for key in every])
    written: dict[str, list[str]] = {}

    async def client(number: int) -> None:
        dice = random.Random(number)
        for turn in range(rounds):
            name = f"{number}-{turn}"
            keys = dice.sample(every, 10)
            keys.sort(reverse=bool(number % 2))
            operations = [box("patch", key, data={"by": name}) for key in keys]
            is_stale = turn % 3 == number % 3
            if is_stale:
                operations[dice.randrange(10)]["if_version"] = 999_999
            operations[dice.randrange(10)] |= {"op": "put"}
            answer = await transact(http, operations)
            assert answer.status_code == (412 if is_stale else answer.status_code)
            assert answer.status_code in {200, 412, 503}, answer.text
            if answer.status_code == 503:
                assert answer.json()["code"] == "STATE_CONTENDED"
            elif answer.status_code == 200:
                written[name] = keys
            single = await http.patch(f"/v1/state/box/{keys[0]}", json={"by": f"{name}-alone"})
            assert single.status_code in {200, 503}, single.text

    async with asyncio.timeout(120 + rounds * 10):
        await asyncio.gather(*map(client, range(CLIENTS)))
    seen = defaultdict(list)
    for key in every:
        for entry in await _history(http, key):
            seen[entry["data"]["by"]].append(key)
    found = {name: sorted(keys) for name, keys in seen.items() if name != "nobody" and not name.endswith("-alone")}
    assert found == {name: sorted(keys) for name, keys in written.items()}
    assert len(written) > CLIENTS


async def test_one_counter_by_many(http: httpx.AsyncClient) -> None:
    """Clients that read, add one and write with If-Match, again when they lose: the counter is what was acknowledged."""
    await _count(http, clients=20, each=1)


@pytest.mark.soak
async def test_one_counter_by_two_hundred(http: httpx.AsyncClient) -> None:
    """The same with 200 clients."""
    await _count(http, clients=200, each=1)


async def _count(http: httpx.AsyncClient, clients: int, each: int) -> None:
    place = f"/v1/state/box/counter-{clients}"
    await http.put(place, json={"data": {"n": 0}})

    async def add() -> int:
        acknowledged = 0
        while acknowledged < each:
            seen = await http.get(place)
            answer = await http.put(
                place, json={"data": {"n": seen.json()["data"]["n"] + 1}}, headers={"if-match": seen.headers["etag"]}
            )
            assert answer.status_code in {200, 412}, answer.text
            acknowledged += answer.status_code == 200
        return acknowledged

    async with asyncio.timeout(300):
        total = sum(await asyncio.gather(*(add() for _ in range(clients))))
    final = (await http.get(place)).json()
    assert (final["data"]["n"], final["version"]) == (total, total + 1) == (clients * each, clients * each + 1)


async def _history(http: httpx.AsyncClient, key: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    token = ""
    while token is not None:
        page = (await http.get(f"/v1/state/box/{key}/history", params={"page_size": 500, "page_token": token})).json()
        entries += page["items"]
        token = page["next_page_token"]
    return entries
