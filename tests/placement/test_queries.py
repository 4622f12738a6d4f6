"""Queries and unique values over HTTP, wherever the state service runs and however many of it."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.server_events import ServerEvent, ServerEventReader

from tests.people import Person

MANY = 100


@pytest.fixture
def row() -> str:
    """Give a row of seats that nobody else has."""
    return f"row-{secrets.token_hex(4)}"


def take(ada: Person, seat: str, row: str, number: int | None) -> httpx.Response:
    """Take a seat."""
    data = {"row": row} | ({} if number is None else {"number": number})
    return ada.http.put(f"/v1/state/seats/{seat}", json={"data": data})


async def test_of_a_hundred_that_want_one_value_one_has_it(platform, person, row):
    """A hundred creations at once: one is made, every other one is refused with field and key, and there is one event."""
    ada = person()
    async with httpx.AsyncClient(base_url=platform.gateway, headers=ada.http.headers, timeout=60, verify=NO_TLS) as http:
        urls = [f"/v1/state/seats/{row}-{n}" for n in range(MANY)]
        answers = await asyncio.gather(*(http.put(url, json={"data": {"row": row, "number": 1}}) for url in urls))
        assert Counter(answer.status_code for answer in answers) == {200: 1, 409: MANY - 1}
        (made,) = [answer.json()["key"] for answer in answers if answer.is_success]
        problems = [answer.json() for answer in answers if not answer.is_success]
        assert {problem["code"] for problem in problems} == {"STATE_NOT_UNIQUE"}
        assert {(problem["metadata"]["field"], problem["metadata"]["key"]) for problem in problems} == {("row,number", made)}
        listed = (await http.get("/v1/state/seats", params={"filter[row]": row, "count": MANY})).json()
    assert (listed["count"], [seat["key"] for seat in listed["items"]]) == (1, [made])


def test_whose_value_it_is_is_said_to_who_may_read_it(person, row):
    """Somebody else is told the field, and not the key; and finds nothing."""
    ada, bob = person(), person()
    assert take(ada, f"{row}-a", row, 1).is_success
    refused = take(bob, f"{row}-b", row, 1).json()
    assert (refused["code"], refused["metadata"]) == ("STATE_NOT_UNIQUE", {"namespace": "seats", "field": "row,number"})
    assert f"{row}-a" not in str(refused)
    found = bob.http.get("/v1/state/seats", params={"filter[row]": row, "count": 10}).json()
    assert (found["items"], found["count"]) == ([], 0)


def test_pages_of_a_query(person, row):
    """Up and down, page by page: every object once, in the order of its values; numbers are numbers."""
    ada = person()
    numbers = [10, 9, 100, -1, 0, None]
    for number in numbers:
        assert take(ada, f"{row}-{number}", row, number).is_success
    orders = {"number": [None, -1, 0, 9, 10, 100], "-number": [100, 10, 9, 0, -1, None]}
    orders |= {"created_at": numbers, "-created_at": numbers[::-1]}  # sorted out of what the index finds
    for sort, wanted in orders.items():
        seen, token = [], ""
        while True:
            params = {"filter[row]": row, "sort": sort, "page_size": 2, "page_token": token}
            page = ada.http.get("/v1/state/seats", params=params).json()
            seen += [seat["data"].get("number") for seat in page["items"]]
            token = page["next_page_token"]
            if token is None:
                break
        assert seen == wanted
    ranged = {"filter[row]": row, "filter[number][gt]": "-1", "filter[number][lte]": "10"}
    assert [seat["data"]["number"] for seat in ada.http.get("/v1/state/seats", params=ranged).json()["items"]] == [0, 9, 10]


@pytest.mark.parametrize(
    ("query", "code", "pointer"),
    [
        ("filter[colour]=red", "INVALID_INPUT", "/filter/colour"),
        ("filter[number]=1", "STATE_QUERY_NOT_INDEXED", "/filter/number"),
        ("filter[row][like]=a", "INVALID_INPUT", "/filter/row/like"),
        ("filter[row]=a&filter[number][gte]=two", "INVALID_INPUT", "/filter/number/gte"),
        ("filter[row]=a&filter[number][gte]=2&filter[number][lt]=1", "INVALID_INPUT", "/filter/number"),
        ("filter[row]=a&filter[row]=b", "INVALID_INPUT", "/filter[row]"),
        ("filter[row]=a&status=kept", "INVALID_INPUT", "/status"),
        ("filter[row][x", "INVALID_INPUT", "/filter[row][x"),
        ("sort=-number", "STATE_QUERY_NOT_INDEXED", "/sort"),
        ("sort=colour", "INVALID_INPUT", "/sort"),
        ("count=-1", "INVALID_INPUT", "/count"),
        ("count=10001", "INVALID_INPUT", "/count"),
        ("filter[row]=a&page_token=WyJhIl0", "INVALID_INPUT", "/page_token"),
    ],
)
def test_what_cannot_be_asked_is_refused_at_its_place(person, query, code, pointer):
    """422 with the place; never a scan, never a guess."""
    answer = person().http.get(f"/v1/state/seats?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert [entry["pointer"] for entry in answer.json()["errors"]] == [pointer]


def test_a_token_is_of_one_query(person, row):
    """With other filters, or another order, it is refused."""
    ada = person()
    for number in (1, 2):
        take(ada, f"{row}-{number}", row, number)
    query = {"filter[row]": row, "page_size": 1}
    token = ada.http.get("/v1/state/seats", params=query).json()["next_page_token"]
    for other in ({"filter[row]": f"{row}2"}, {"sort": "-number"}, {"filter[number][gt]": "0"}):
        answer = ada.http.get("/v1/state/seats", params=query | other | {"page_token": token})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/page_token")
    assert ada.http.get("/v1/state/seats", params=query | {"page_token": token}).is_success


def test_what_matches_is_followed(person, row):
    """Over SSE: what comes to match is told, what matches no more is gone; who comes back is told what it missed."""
    ada = person()
    query = {"filter[row]": row, "filter[number][gte]": "2"}
    take(ada, f"{row}-1", row, 1)
    take(ada, f"{row}-2", row, 2)
    with ada.http.stream("GET", "/v1/state/seats/watch", params=query) as answer:
        assert answer.status_code == HTTPStatus.OK, answer.read()
        events = told(answer)
        begun = next(events)
        assert [item["key"] for item in begun.data["items"]] == [f"{row}-2"]
        take(ada, f"{row}-1", row, 3)
        take(ada, f"{row}-2", row, 1)
        heard = [next(events) for _ in range(2)]
    assert {(event.data["key"], event.data["change"]) for event in heard} == {(f"{row}-1", "updated"), (f"{row}-2", "gone")}
    take(ada, f"{row}-1", row, None)
    with ada.http.stream("GET", "/v1/state/seats/watch", params=query, headers={"last-event-id": heard[-1].id}) as answer:
        left = next(told(answer)).data
        assert (left["key"], left["change"], left["version"]) == (f"{row}-1", "gone", 3)
    for asked, code in ({"filter[colour]": "red"}, "INVALID_INPUT"), ({"filter[number][gte]": "2"}, "STATE_QUERY_NOT_INDEXED"):
        refused = ada.http.get("/v1/state/seats/watch", params=asked)
        assert (refused.status_code, refused.json()["code"]) == (422, code)


def told(answer: httpx.Response) -> Iterator[ServerEvent]:
    """Yield what a stream tells."""
    reader = ServerEventReader()
    return (event for line in answer.iter_lines() if (event := reader.line(line)) is not None and event.kind)


def test_what_can_be_asked_stands_in_the_document(person):
    """Each namespace with indexes has its filters, with their types, at its own path."""
    paths = person().http.get("/openapi.json").json()["paths"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in paths["/v1/state/seats"]["get"]["parameters"]}
    assert parameters["filter[number][gte]"] == {"type": "number"}
    assert parameters["filter[row][in]"]["maxItems"] == 50
    own = [sign + name for name in ("status", "owner", "created_at", "updated_at") for sign in ("", "-")]
    assert parameters["sort"]["enum"] == ["row", "-row", "number", "-number", *own]
    assert "filter[number][prefix]" not in parameters
    assert "/v1/state/notes" not in paths
    watched = {parameter["name"] for parameter in paths["/v1/state/seats/watch"]["get"]["parameters"]}
    assert watched == (parameters.keys() - {"sort", "page_size", "page_token", "count", "consistency"}) | {"Last-Event-ID"}
