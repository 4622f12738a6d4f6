"""Whose an object is, over HTTP: shown, chosen and handed over."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")


def by(user: str, **headers: str) -> dict[str, str]:
    """Return the headers of a request by somebody."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"authorization": f"Bearer {user}", "content-type": "application/json", **named}


async def test_an_object_is_handed_over(gateway, is_problem) -> None:
    """The answer is the object with its new owner; who gave it away sees it no more, and the history says what happened."""
    path = "/v1/state/closed/given"
    created = await gateway.http.put(path, content=b'{"data": {}}', headers=by("ada"))
    assert created.json()["owner"] == "ada"
    is_problem(
        await gateway.http.put(f"{path}/owner", content=b'{"owner": "bob"}', headers=by("ada", if_match='"7"')),
        412, "STATE_VERSION_CONFLICT",
    )  # fmt: skip
    once = by("ada", if_match='"1"', idempotency_key="hand-over")
    for _ in range(2):
        answer = await gateway.http.put(f"{path}/owner", content=b'{"owner": "bob"}', headers=once)
        assert (answer.status_code, answer.headers["etag"], answer.json()["owner"]) == (200, '"2"', "bob")
    assert answer.headers["idempotency-replayed"] == "true"
    is_problem(await gateway.http.get(path, headers=by("ada")), 404, "STATE_NOT_FOUND")
    (listed,) = (await gateway.http.get("/v1/state/closed", headers=by("bob"))).json()["items"]
    assert (listed["key"], listed["owner"]) == ("given", "bob")
    (entry,) = (await gateway.http.get(f"{path}/history", headers=by("bob"))).json()["items"]
    assert (entry["change"], entry["owner"], entry["previous_owner"], entry["actor"]) == ("assigned", "bob", "ada", "ada")


async def test_bodies_that_hand_nothing_over(gateway, is_problem) -> None:
    """Each is 422 with its place; one's own name needs no right to assign, another's does."""
    path = "/v1/state/closed/kept"
    await gateway.http.put(path, content=b'{"data": {}, "owner": "ada"}', headers=by("ada"))
    for body in (b"{}", b'{"owner": 7}', b'{"owner": "service:state"}', b'{"owner": ""}', b'{"owner": "bob", "x": 1}'):
        is_problem(await gateway.http.put(f"{path}/owner", content=body, headers=by("ada")), 422, "INVALID_INPUT")
    taken = await gateway.http.put(path, content=b'{"data": {}, "owner": "bob"}', headers=by("ada"))
    is_problem(taken, 409, "STATE_OWNER_NOT_WRITABLE")
    other = await gateway.http.put("/v1/state/notes/other", content=b'{"data": {}, "owner": "bob"}', headers=by("ada"))
    is_problem(other, 403, "PERMISSION_DENIED")
    is_problem(await gateway.http.put("/v1/state/notes/none/owner", content=b'{"x"', headers={}), 401, "UNAUTHENTICATED")


async def test_who_reads_what_is_public_is_told_no_ids(gateway) -> None:
    """Neither the owner nor the actors, in none of the answers."""
    await gateway.http.put("/v1/state/notes/whose", content=b'{"data": {}}', headers=by("ada"))
    for user, owner in (("ada", "ada"), ("bob", None)):
        assert (await gateway.http.get("/v1/state/notes/whose", headers=by(user))).json().get("owner") == owner
    assert "owner" not in (await gateway.http.get("/v1/state/notes/whose")).json()
    (entry,) = (await gateway.http.get("/v1/state/notes/whose/history")).json()["items"]
    assert (entry["actor"], "owner" in entry) == ("", False)


async def test_a_transaction_hands_over(gateway, is_problem) -> None:
    """`assign` and `owner` stand among the operations, with their places."""
    await gateway.http.put("/v1/state/closed/t", content=b'{"data": {}}', headers=by("ada"))
    body = b'{"operations": [{"op": "assign", "namespace": "closed", "key": "t", "owner": "%s", "if_version": 1}]}'
    wrong = await gateway.http.post("/v1/state/transactions", content=body % b"a b", headers=by("ada"))
    problem = is_problem(wrong, 422, "INVALID_INPUT")
    assert problem["errors"][0]["pointer"] == "/operations/0/owner"
    answer = await gateway.http.post("/v1/state/transactions", content=body % b"bob", headers=by("ada"))
    assert [(one["owner"], one["version"]) for one in answer.json()["results"]] == [("bob", 2)]
