"""Idempotency-Key at the gateway: the first answer comes again, whole."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stylobate_gateway.idempotency import FORM

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada"}
NOTE = {"data": {"text": "tea"}}


class Notes:
    """Ada's notes, over HTTP."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a request, with header fields whose names are written with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(
            method, path if path[0] == "/" else f"/v1/state/notes/{path}", json=body, headers=ADA | fields
        )

    async def versions(self, key: str) -> list[str]:
        """Return what happened to a note, oldest first."""
        found = (await self.send("GET", f"{key}/history")).json()["items"]
        return [entry["change"] for entry in reversed(found)]


@pytest.fixture
def notes(gateway: Any) -> Notes:
    """Give the notes of the file's gateway; each test takes keys of its own."""
    return Notes(gateway.http)


def whole(answer: httpx.Response) -> tuple[int, str | None, bytes]:
    """Return what must come again."""
    assert answer.status_code < 300, answer.text
    return answer.status_code, answer.headers.get("etag"), answer.content


async def test_each_change_of_an_object_happens_once(notes: Notes) -> None:
    """Put, patch, transition and delete, each sent three times with its key: one change each, and one answer, said to be so."""
    changes: list[tuple[str, str, Any]] = [
        ("PUT", "once", NOTE),
        ("PATCH", "once", {"more": 1}),
        ("POST", "once/transitions/publish", None),
        ("DELETE", "once", None),
    ]
    for method, path, body in changes:
        first, *others = [await notes.send(method, path, body, idempotency_key="k-1") for _ in range(3)]
        assert "idempotency-replayed" not in first.headers
        for other in others:
            assert whole(other) == whole(first)
            assert other.headers["idempotency-replayed"] == "true"
            assert other.headers["x-request-id"] != first.headers["x-request-id"]
    assert await notes.versions("once") == ["created", "updated", "transitioned", "deleted"]


async def test_a_key_with_and_without_quotes_is_one(notes: Notes) -> None:
    """The draft writes a key as a quoted string, most clients without quotes."""
    first = await notes.send("PUT", "quoted", NOTE, idempotency_key='"a b"')
    again = await notes.send("PUT", "quoted", NOTE, idempotency_key='"a b"')
    assert whole(first) == whole(again)
    bare = [await notes.send("PATCH", "quoted", {"n": 1}, idempotency_key=key) for key in ('"k"', "k")]
    assert whole(bare[0]) == whole(bare[1])
    assert await notes.versions("quoted") == ["created", "updated"]


async def test_another_request_with_the_key_is_refused(notes: Notes, is_problem: Callable[..., Any]) -> None:
    """Another body, or another object, with a key that was used changes nothing."""
    await notes.send("PUT", "reused", NOTE, idempotency_key="reused")
    is_problem(
        await notes.send("PUT", "reused", {"data": {"text": "x"}}, idempotency_key="reused"), 422, "IDEMPOTENCY_KEY_REUSED"
    )
    is_problem(await notes.send("PUT", "another", NOTE, idempotency_key="reused"), 422, "IDEMPOTENCY_KEY_REUSED")
    assert await notes.versions("reused") == ["created"]


async def test_a_key_is_its_callers(notes: Notes) -> None:
    """The same key of somebody else, or at another route, is another key."""
    await notes.send("PUT", "mine", NOTE, idempotency_key="ours")
    other = await notes.send("PUT", "theirs", NOTE, idempotency_key="ours", authorization="Bearer bob")
    assert other.status_code == 200
    assert "idempotency-replayed" not in other.headers


async def test_the_first_answer_comes_before_the_conditions(notes: Notes, is_problem: Callable[..., Any]) -> None:
    """A request that its own first sending made impossible is answered, whatever conditions it has; others are refused."""
    await notes.send("PUT", "held", NOTE)
    for key, conditions in {
        "one": {"if_match": '"1"'},
        "list": {"if_match": '"2", "7"'},
        "any": {"if_match": "*"},
        "not": {"if_none_match": '"9"'},
    }.items():
        first, again = [await notes.send("PATCH", "held", {key: 1}, idempotency_key=key, **conditions) for _ in range(2)]
        assert whole(first) == whole(again), key
    is_problem(await notes.send("PATCH", "held", {}, idempotency_key="new", if_match='"1", "2"'), 412, "STATE_VERSION_CONFLICT")
    created = [await notes.send("PUT", "fresh", NOTE, idempotency_key="f", if_none_match="*") for _ in range(2)]
    assert whole(created[0]) == whole(created[1])
    gone = [await notes.send("DELETE", "held", idempotency_key="g", if_match="*") for _ in range(2)]
    assert whole(gone[0]) == whole(gone[1])
    is_problem(await notes.send("DELETE", "held", idempotency_key="h", if_match="*"), 404, "STATE_NOT_FOUND")


async def test_many_at_once_are_one_change(notes: Notes) -> None:
    """Thirty equal requests at once: all wait for the first, and have its answer."""
    answers = await asyncio.gather(*(notes.send("PUT", "many", NOTE, idempotency_key="many") for _ in range(30)))
    assert len({whole(answer) for answer in answers}) == 1
    assert sum("idempotency-replayed" in answer.headers for answer in answers) == 29
    assert await notes.versions("many") == ["created"]


async def test_a_refusal_is_not_kept(notes: Notes, is_problem: Callable[..., Any]) -> None:
    """What was refused changed nothing: the key is free for the request that is right."""
    place = "/v1/state/typed/right"
    is_problem(await notes.send("PUT", place, {"data": {"text": 1}}, idempotency_key="r"), 422, "STATE_DATA_INVALID")
    assert (await notes.send("PUT", place, NOTE, idempotency_key="r")).status_code == 200


@pytest.mark.parametrize("key", ["", "a b", '"a', 'a"b', "a, b", "a\\b", '""', "k" * 256, '"a";x=1'])
async def test_a_key_of_another_form_is_refused(notes: Notes, is_problem: Callable[..., Any], key: str) -> None:
    """It is 400 and says what is taken; nothing is changed."""
    found = is_problem(await notes.send("PUT", "formless", NOTE, idempotency_key=key), 400, "INVALID_HEADER")
    assert "Idempotency-Key" in found["detail"]
    is_problem(await notes.send("GET", "formless"), 404, "STATE_NOT_FOUND")


async def test_two_keys_are_none(notes: Notes, is_problem: Callable[..., Any]) -> None:
    """Nobody may choose which of two counts."""
    fields = [("authorization", "Bearer ada"), ("idempotency-key", "a"), ("idempotency-key", "b")]
    answer = await notes.http.request("PUT", "/v1/state/notes/two", json=NOTE, headers=fields)
    is_problem(answer, 400, "INVALID_HEADER")


@pytest.mark.parametrize("key", ["k", "not a, key"])
async def test_a_request_that_changes_nothing_needs_no_key(notes: Notes, key: str) -> None:
    """With GET and HEAD the field is passed over, whatever its form: they may be sent again anyhow."""
    await notes.send("PUT", "read", NOTE)
    for method in ("GET", "HEAD"):
        found = [await notes.send(method, "read", idempotency_key=key) for _ in range(2)]
        assert [answer.status_code for answer in found] == [200, 200]
        assert "idempotency-replayed" not in found[1].headers


async def test_who_may_not_ask_is_told_so_first(notes: Notes, is_problem: Callable[..., Any]) -> None:
    """Without a token a wrong key is 401 like a right one."""
    for path in ("/v1/state/notes/x", "/v1/auth/logout", "/v1/actions/notes.whoami"):
        method = "PUT" if "state" in path else "POST"
        for key in ("k", "not a, key"):
            answer = await notes.http.request(method, path, json=NOTE, headers={"idempotency-key": key})
            is_problem(answer, 401, "UNAUTHENTICATED")


ASKING = ("/v1/access/check", "/oauth2/token", "/oauth2/introspect", "/oauth2/revoke")
"""What is posted to them is a question, or what others say how to repeat: OAuth."""


async def test_the_document_lists_the_key(notes: Notes) -> None:
    """Every operation that changes something takes the header and says when an answer came again; no other does."""
    paths = (await notes.http.get("/openapi.json")).json()["paths"]
    for path, item in paths.items():
        for method, operation in item.items():
            taken = [one for one in operation.get("parameters", ()) if one["name"] == "Idempotency-Key"]
            assert len(taken) == (method != "get" and path not in ASKING), (method, path)
            told = [status for status, one in operation["responses"].items() if "Idempotency-Replayed" in one["headers"]]
            assert told == [status for status in operation["responses"] if status[0] == "2" and taken], (method, path)
            if taken:
                assert taken[0]["schema"]["pattern"] == FORM["pattern"]
                assert {"409", "422"} <= operation["responses"].keys()
