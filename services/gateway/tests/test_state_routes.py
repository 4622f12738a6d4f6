"""State objects over HTTP: payloads keep their digits, versions guard, lists page."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEADERS = {"authorization": "Bearer ada", "content-type": "application/json"}


async def put(gateway, key: str, data: str, **headers: str):
    """Put an object; underscores in names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.http.put(f"/v1/state/notes/{key}", content=f'{{"data": {data}}}', headers=HEADERS | named)


@pytest.mark.parametrize("number", ["1180591620717411303424", "0.1000000000000000055511151231257827", "1E400", "-0.0", "1.50"])
async def test_numbers_keep_their_digits(gateway, number) -> None:
    """A payload passes as the bytes it came in: no float stands in for what a client wrote."""
    text = f'{{"n":{number}}}'
    answer = await put(gateway, f"n{number}", text)
    if answer.status_code == 422:  # the state service may refuse what JSON Schema cannot judge; it must not change it
        return
    assert text in answer.text.replace(" ", "")
    assert text in (await gateway.http.get(f"/v1/state/notes/n{number}")).text.replace(" ", "")


async def test_versions_guard_writes(gateway, is_problem) -> None:
    """`If-None-Match: *` creates only, `If-Match` changes only what was seen; a weakened tag fits nothing."""
    created = await put(gateway, "guarded", "{}", if_none_match="*")
    assert (created.status_code, created.headers["etag"]) == (200, '"1"')
    is_problem(await put(gateway, "guarded", "{}", if_none_match="*"), 412, "STATE_VERSION_CONFLICT")
    is_problem(await put(gateway, "guarded", '{"a": 1}', if_match='W/"1"'), 412, "STATE_VERSION_CONFLICT")
    assert (await put(gateway, "guarded", '{"a": 1}', if_match='"1"')).headers["etag"] == '"2"'
    is_problem(await put(gateway, "guarded", '{"a": 2}', if_match='"1"'), 412, "STATE_VERSION_CONFLICT")


@pytest.mark.parametrize(
    "headers",
    [{"if_match": text} for text in ('"0"', "1", '"one"', "", ",", '"1" "2"', '*, "1"', '"1", 2', '"01"', '"1";', 'w/"1"')]
    + [{"if_none_match": text} for text in ("1", '"x"', "", "**")],
)
async def test_a_guard_that_is_not_understood_is_refused(gateway, is_problem, headers) -> None:
    """A header that was meant to guard a write is never read over, nor turned into another guard."""
    is_problem(await put(gateway, "unguarded", "{}", **headers), 400, "INVALID_HEADER")


async def test_unchanged_objects_are_not_sent_again(gateway) -> None:
    """`If-None-Match` on a read: 304 for the version at hand, also in a list and as `*`."""
    await put(gateway, "cached", "{}")
    for tag in ('"1"', '"7", "1"', 'W/"1"', "*"):
        answer = await gateway.http.get("/v1/state/notes/cached", headers={"if-none-match": tag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    assert (await gateway.http.get("/v1/state/notes/cached", headers={"if-none-match": '"11"'})).status_code == 200


async def test_an_object_lives_through_all_its_routes(gateway, is_problem) -> None:
    """Create, merge, fire an event, read its history, delete: each answers with what it became."""
    await put(gateway, "life", '{"a": 1, "b": 2}')
    merge = HEADERS | {"content-type": "application/merge-patch+json"}
    patched = await gateway.http.patch("/v1/state/notes/life", content=b'{"b": null, "c": 3}', headers=merge)
    assert patched.json()["data"] == {"a": 1, "c": 3}
    fired = await gateway.http.post("/v1/state/notes/life/transitions/publish", headers=HEADERS)
    assert (fired.json()["status"], fired.headers["etag"]) == ("published", '"3"')
    again = await gateway.http.post("/v1/state/notes/life/transitions/publish", headers=HEADERS)
    is_problem(again, 409, "STATE_TRANSITION_NOT_ALLOWED")
    history = (await gateway.http.get("/v1/state/notes/life/history")).json()["items"]
    assert [(entry["version"], entry["change"]) for entry in history] == [(3, "transitioned"), (2, "updated"), (1, "created")]
    assert (await gateway.http.delete("/v1/state/notes/life", headers=HEADERS | {"if-match": '"3"'})).status_code == 204
    is_problem(await gateway.http.get("/v1/state/notes/life"), 404, "STATE_NOT_FOUND")


async def test_lists_page(gateway, is_problem) -> None:
    """Every object once, and a page size that is out of bounds is named by its place."""
    for number in range(5):
        await put(gateway, f"page-{number}", "{}")
    seen, token = [], ""
    while token is not None:
        page = (await gateway.http.get("/v1/state/notes", params={"page_size": 2, "page_token": token})).json()
        seen += [item["key"] for item in page["items"]]
        token = page["next_page_token"]
    assert sorted(set(seen)) == sorted(seen)
    assert {f"page-{number}" for number in range(5)} <= set(seen)
    found = is_problem(await gateway.http.get("/v1/state/notes?page_size=501"), 422, "INVALID_INPUT")
    assert found["errors"][0]["pointer"] == "/page_size"


async def test_a_history_is_filtered(gateway, is_problem) -> None:
    """By version, time, actor and change, together; a token is of its question, nonsense is named by its place."""
    path = "/v1/state/notes/filtered/history"
    for number in range(5):
        await put(gateway, "filtered", f'{{"n": {number}}}')
    whole = (await gateway.http.get(path, headers=HEADERS)).json()["items"]

    async def found(**query):
        return [entry["version"] for entry in (await gateway.http.get(path, params=query, headers=HEADERS)).json()["items"]]

    assert await found(after_version=1, before_version=5) == [4, 3, 2]
    assert await found(since=whole[0]["time"], page_size=2) == [5, 4]
    assert await found(until=whole[0]["time"]) == []  # the clock stands here
    assert await found(actor=whole[0]["actor"], change="created") == [1]
    assert await found(actor="nobody") == []
    page = (await gateway.http.get(path, params={"change": "updated", "page_size": 3})).json()
    rest = {"change": "updated", "page_size": 3, "page_token": page["next_page_token"]}
    assert await found(**rest) == [2]
    for query, place in (
        (rest | {"change": "created"}, "/page_token"),
        ({"after_version": 3, "before_version": 4}, "/before_version"),
        ({"after_version": "1.0"}, "/after_version"),
        ({"before_version": 0}, "/before_version"),
        ({"since": "yesterday"}, "/since"),
        ({"until": ""}, "/until"),
        ({"since": whole[0]["time"], "until": whole[0]["time"]}, "/until"),
        ({"change": "moved"}, "/change"),
    ):
        refused = is_problem(await gateway.http.get(path, params=query), 422, "INVALID_INPUT")
        assert [error["pointer"] for error in refused["errors"]] == [place], query


async def test_an_object_as_it_was(gateway, is_problem) -> None:
    """At a version or a time: with where it is, when it was, and what it is a version of; what was not there says so."""
    path = "/v1/state/notes/as%20it%20was"
    for number in (1, 2):
        made = await gateway.http.put(path, content=f'{{"data": {{"n": {number}}}}}', headers=HEADERS)
        assert made.status_code == 200
    then = await gateway.http.get(path, params={"version": 1})
    assert (then.json()["data"], then.json()["version"], then.headers["etag"]) == ({"n": 1}, 1, '"1"')
    assert then.headers["content-location"] == f"{path}?version=1"
    assert then.headers["link"] == f'<{path}>; rel="original"'
    assert then.headers["memento-datetime"] == "Tue, 01 Jan 2030 12:00:00 GMT"
    assert "memento-datetime" not in (await gateway.http.get(path)).headers
    assert (await gateway.http.get(path, params={"version": 1}, headers={"if-none-match": '"1"'})).status_code == 304
    assert (await gateway.http.get(path, params={"as_of": made.json()["updated_at"]})).json()["version"] == 2
    await gateway.http.delete(path, headers=HEADERS)
    assert (await gateway.http.get(path, params={"version": 2})).json()["data"] == {"n": 2}
    gone = is_problem(await gateway.http.get(path, params={"version": 3}), 410, "STATE_VERSION_DELETED")
    assert gone["metadata"]["version"] == "3"
    is_problem(await gateway.http.get(path, params={"version": 4}), 404, "STATE_VERSION_NOT_FOUND")
    is_problem(await gateway.http.get(path, params={"as_of": "2001-01-01T00:00:00Z"}), 404, "STATE_VERSION_NOT_FOUND")
    for query, place in (
        ({"version": 0}, "/version"),
        ({"version": "1.0"}, "/version"),
        ({"as_of": "yesterday"}, "/as_of"),
        ({"version": 1, "as_of": made.json()["updated_at"]}, "/as_of"),
    ):
        refused = is_problem(await gateway.http.get(path, params=query), 422, "INVALID_INPUT")
        assert [error["pointer"] for error in refused["errors"]] == [place]


async def test_an_older_version_is_restored(gateway, is_problem) -> None:
    """Under conditions and with an idempotency key as any change; alone and in a transaction; after a deletion too."""
    path = "/v1/state/notes/restored"
    for number in (1, 2):
        await put(gateway, "restored", f'{{"n": {number}}}')

    async def restore(body='{"version": 1}', **headers):
        return await gateway.http.post(f"{path}/restore", content=body, headers=HEADERS | headers)

    is_problem(await restore(**{"if-match": '"1"'}), 412, "STATE_VERSION_CONFLICT")
    back = await restore(**{"if-match": '"2"', "idempotency-key": "back"})
    assert (back.status_code, back.json()["data"], back.headers["etag"]) == (200, {"n": 1}, '"3"')
    again = await restore(**{"if-match": '"2"', "idempotency-key": "back"})
    assert (again.json(), again.headers["idempotency-replayed"]) == (back.json(), "true")
    newest = (await gateway.http.get(f"{path}/history")).json()["items"][0]
    assert (newest["version"], newest["change"], newest["restored_from"]) == (3, "updated", 1)
    await gateway.http.delete(path, headers=HEADERS)
    is_problem(await restore('{"version": 4}'), 410, "STATE_VERSION_DELETED")
    undone = await restore('{"version": 2}', **{"if-none-match": "*"})
    assert (undone.status_code, undone.json()["data"], undone.json()["version"]) == (200, {"n": 2}, 5)
    both = '{"operations": [{"op": "restore", "namespace": "notes", "key": "restored", "version": 1, "if_version": 5}]}'
    done = await gateway.http.post("/v1/state/transactions", content=both, headers=HEADERS)
    assert done.json()["results"][0]["data"] == {"n": 1}
    for body, place in (("{}", ""), ('{"version": 0}', "/version"), ('{"version": "1"}', "/version")):
        refused = is_problem(await restore(body), 422, "INVALID_INPUT")
        assert [error["pointer"] for error in refused["errors"]] == [place]
    is_problem(await restore('{"version": 99}'), 404, "STATE_VERSION_NOT_FOUND")
