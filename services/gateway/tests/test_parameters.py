"""Input from the path and the query: read as the schema says, and what does not fit is refused at its place."""

import asyncio

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada"}
PLAIN = {
    "doctor": "X",
    "day": None,
    "after": None,
    "kind": "check",
    "order": "time",
    "rooms": [],
    "tags": None,
    "minutes": None,
    "price": 0.0,
    "is_free": True,
}


@pytest.mark.parametrize(
    ("query", "changed"),
    [
        ("doctor=X", {}),
        ("doctor=", {"doctor": ""}),
        ("doctor", {"doctor": ""}),
        ("doctor=5", {"doctor": "5"}),
        ("doctor=true", {"doctor": "true"}),
        ("doctor=a+b%20c%2Bd%26e%3D%2F", {"doctor": "a b c+d&e=/"}),
        ("doctor=%25C3", {"doctor": "%C3"}),
        ("doctor=%C3%A4%22%5C%01", {"doctor": 'ä"\\\1'}),
        ("doctor=X&day=2026-01-31", {"day": "2026-01-31"}),
        ("doctor=X&after=2026-01-31T08:00:00%2B02:00", {"after": "2026-01-31T08:00:00+02:00"}),
        ("doctor=X&kind=treatment&order=doctor", {"kind": "treatment", "order": "doctor"}),
        ("doctor=X&rooms=7", {"rooms": [7]}),
        ("rooms=7&doctor=X&rooms=-3&rooms=0", {"rooms": [7, -3, 0]}),
        ("doctor=X&tags=a&tags=5", {"tags": ["a", "5"]}),
        ("doctor=X&minutes=15&price=1.5e1&is_free=false", {"minutes": 15, "price": 15.0, "is_free": False}),
        ("doctor=X&price=3", {"price": 3.0}),
    ],
)
async def test_a_query_is_read_as_the_schema_says(gateway, query, changed) -> None:
    """Text becomes the type that the field has, once decoded; what is left out takes its default."""
    answer = await gateway.http.get(f"/slots?{query}")
    assert (answer.status_code, answer.json()) == (200, PLAIN | changed)


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("", ["/doctor"]),
        ("doctor=X&doctor=Y", ["/doctor"]),
        ("doctor=X&colour=red", ["/colour"]),
        ("doctor=X&a/b~c=1&d=", ["/a~1b~0c", "/d"]),
        ("doctor=X&Doctor=Y", ["/Doctor"]),
        ("doctor=X&rooms[]=7", ["/rooms[]"]),
        ("doctor=X&rooms=7,8", ["/rooms/0"]),
        ("doctor=X&rooms=7&rooms=x", ["/rooms/1"]),
        ("doctor=X&minutes=", ["/minutes"]),
        ("doctor=X&minutes=1.5", ["/minutes"]),
        ("doctor=X&minutes=01", ["/minutes"]),
        ("doctor=X&minutes=%2B1", ["/minutes"]),
        ("doctor=X&minutes=1_000", ["/minutes"]),
        ("doctor=X&minutes=%D9%A3", ["/minutes"]),
        ("doctor=X&minutes=1&minutes=2", ["/minutes"]),
        ("doctor=X&minutes=null", ["/minutes"]),
        ("doctor=X&price=NaN", ["/price"]),
        ("doctor=X&price=.5", ["/price"]),
        ("doctor=X&is_free=1", ["/is_free"]),
        ("doctor=X&is_free=True", ["/is_free"]),
        ("doctor=X&day=tomorrow", ["/day"]),
        ("doctor=X&kind=walk", ["/kind"]),
        ("doctor=%00", ["/doctor"]),
        ("doctor=X&minutes=18446744073709551616", ["/minutes"]),
        ("doctor=X&price=1e400", ["/price"]),
    ],
)
async def test_what_does_not_fit_is_refused_at_its_place(gateway, is_problem, query, pointers) -> None:
    """A value is never bent, a name never passed over: the finding names the parameter."""
    found = is_problem(await gateway.http.get(f"/slots?{query}"), 422, "ACTION_INPUT_INVALID")
    assert sorted({entry["pointer"] for entry in found["errors"]}) == sorted(pointers)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/docs", "/openapi.json", "/problems/not-found", "/.well-known/jwks.json", "/v1/auth/login", "/v1/actions"),
        *("/v1/state/notes", "/v1/state/notes/k", "/v1/realtime", "/nothing", "/slots", "/slots/7", "/v1/actions/notes.count"),
    ],
)
async def test_a_query_is_utf_8(gateway, is_problem, path) -> None:
    """Wherever it is sent to: what is not text is refused before anything else, and not replaced by a sign for it."""
    for method, query in (("GET", "x=%ff"), ("POST", "%ff"), ("GET", "page_token=%ed%a0%80"), ("PUT", "doctor=%c3&x=%a4")):
        sent = httpx.URL("/", raw_path=f"{path}?{query}".encode())
        is_problem(await gateway.http.request(method, sent), 400, "MALFORMED_QUERY")


@pytest.mark.parametrize("path", ["/open?x=1", "/count?x=1", "/slots/next?x=1", "/slots/7?x=1"])
async def test_an_unknown_parameter_is_refused_whatever_the_schema_lets_pass(gateway, is_problem, path) -> None:
    """Nothing in a URL is ignored."""
    found = is_problem(await gateway.http.get(path), 422, "ACTION_INPUT_INVALID")
    assert found["errors"] == [{"pointer": "/x", "detail": "is not known here"}]


@pytest.mark.parametrize("path", ["/echo?x=1", "/v1/actions/notes.echo?x=1"])
async def test_a_body_has_no_query_beside_it(gateway, is_problem, path) -> None:
    """Where the input is the body a parameter says nothing, and is refused."""
    is_problem(await gateway.http.post(path, json={}), 422, "ACTION_INPUT_INVALID")


async def test_defaults_of_a_schema_hold(gateway) -> None:
    """Also where no annotation would fill them in."""
    assert (await gateway.http.get("/open")).json() == {"size": 20}
    assert (await gateway.http.get("/open?size=3&price=1")).json() == {"size": 3, "price": 1}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/slots/7", "7"),
        ("/slots/a%20b+c", "a b+c"),
        ("/slots/%C3%A4", "ä"),
        ("/slots/%252F", "%2F"),
        ("/slots/..%01", "..\1"),
        ("/slots/NEXT", "NEXT"),
        ("/sl%6Fts/x", "x"),
    ],
)
async def test_a_segment_is_decoded_once(gateway, path, value) -> None:
    """What stands between two slashes is the value, percent-decoded once; a plus is a plus."""
    answer = await gateway.http.get(path)
    assert (answer.status_code, answer.json()) == (200, {"slot_id": value})


@pytest.mark.parametrize(
    "path", ["/slots/", "/slots/7/", "/slots//", "/slots/a%2Fb", "/slots%2F7", "/slots/%FF", "/slots/7/x", "/open%2F"]
)
async def test_a_path_is_never_bent_to_fit(gateway, path) -> None:
    """An encoded slash separates nothing and hides in no value; an empty segment is none."""
    assert (await gateway.http.get(path)).status_code in (400, 404)


async def test_a_name_stands_before_a_parameter(gateway, is_problem) -> None:
    """Where it knows the method; the methods of a path are those of every route that fits it."""
    for path in ("/slots/next", "/slots/n%65xt"):
        assert (await gateway.http.get(path)).json() == "next"
    assert (await gateway.http.delete("/slots/next", headers=ADA)).json() == {"slot_id": "next"}
    answer = await gateway.http.patch("/slots/next")
    is_problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
async def test_a_body_is_refused_where_the_input_stands_in_the_url(gateway, is_problem, method, kind) -> None:
    """Also one that arrives in pieces, whatever its type."""

    async def pieces():
        yield b"{}"

    for content in (b"{}", pieces()):
        headers = ADA | {"content-type": kind}
        answer = await gateway.http.request(method, "/slots/7", content=content, headers=headers)
        is_problem(answer, 400, "BODY_NOT_ALLOWED")


async def test_a_path_and_a_body_make_one_input(gateway, is_problem) -> None:
    """The body's own bytes stay, and a field stands in one place only."""
    where = "/slots/7/bookings"

    async def book(body: str, path: str = where):
        return await gateway.http.post(path, content=body, headers=ADA | {"content-type": "application/json"})

    assert (await book(' {"patient": {"n": 1.50}}')).json() == {"slot_id": 7, "patient": {"n": 1.5}}
    for body, pointers in {
        '{"patient": {}, "slot_id": 7}': ["/slot_id"],
        "[]": [""],
        "{ }": ["/patient"],
        "": ["/patient"],
        '{"patient": {}, "x": 1}': ["/x"],
    }.items():
        found = is_problem(await book(body), 422, "ACTION_INPUT_INVALID")
        assert [entry["pointer"] for entry in found["errors"]] == pointers
    is_problem(await book('{"patient": }'), 400, "MALFORMED_JSON")
    found = is_problem(await book('{"patient": {}}', "/slots/seven/bookings"), 422, "ACTION_INPUT_INVALID")
    assert [entry["pointer"] for entry in found["errors"]] == ["/slot_id"]
    is_problem(await book('{"patient": {}}', where + "?x=1"), 422, "ACTION_INPUT_INVALID")


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/slots/7/bookings?x=1", b"{}"),
        ("POST", "/slots/7/bookings", b"["),
        ("POST", "/v1/actions/slots.book", b"<xml>"),
        ("DELETE", "/slots/7", b"{}"),
    ],
)
async def test_who_may_not_ask_is_not_told_how(gateway, is_problem, method, path, content) -> None:
    """Without a token an action that needs one says so, before it says anything about the request."""
    is_problem(await gateway.http.request(method, path, content=content), 401, "UNAUTHENTICATED")


async def test_a_timeout_of_the_actions_own_holds_over_http(gateway) -> None:
    """Neither the usual time of a call nor that of a request cuts it short."""
    for answer in await asyncio.gather(gateway.http.get("/slow"), gateway.http.post("/v1/actions/slots.slow")):
        assert 30 < answer.json() <= 40
