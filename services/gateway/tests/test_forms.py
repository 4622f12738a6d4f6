"""The form of requests: judged after the right to ask, by one set of rules, with pointers that the caller knows."""

import codecs
import gzip

import orjson
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
ADA = {"authorization": "Bearer ada", "content-type": "application/json"}
WRONG = [
    ("GET", "", {}, b"", "?page_size=x"),
    ("GET", "", {}, b"", "?colour=red"),
    ("GET", "/k", {"if-none-match": "1"}, b"", ""),
    ("GET", "/k/history", {}, b"", "?page_size=0"),
    ("GET", "/k/history", {}, b"", "?after_version=x"),
    ("PUT", "/k", {"if-match": "1"}, b'{"data": {}}', ""),
    ("PUT", "/k", {}, b"{", ""),
    ("PUT", "/k", {}, b"{}", ""),
    ("PUT", "/k", {"content-type": "text/plain"}, b"{}", ""),
    ("PATCH", "/k", {"if-match": "1"}, b"{}", ""),
    ("DELETE", "/k", {"if-match": "1"}, b"", ""),
    ("POST", "/k/restore", {}, b"{}", ""),
    ("POST", "/k/transitions/go", {"if-match": "1"}, b"", ""),
]


@pytest.mark.parametrize(("method", "tail", "headers", "body", "query"), WRONG)
async def test_who_may_not_ask_is_told_that_first(gateway, method, tail, headers, body, query) -> None:
    """Without a token 401 where one is needed, whatever is wrong besides; where none is needed, what is wrong."""
    sent = {"content-type": "application/json"} | headers
    for namespace, expected in (("closed", {401}), ("open", {400, 415, 422})):
        path = f"/v1/state/{namespace}{tail}{query}"
        answer = await gateway.http.request(method, path, content=body, headers=sent)
        assert answer.status_code in expected, answer.text
    answer = await gateway.http.request(method, f"/v1/state/closed{tail}{query}", content=body, headers=ADA | headers)
    assert answer.status_code in {400, 415, 422}, answer.text


async def test_asking_first_changes_nothing(gateway) -> None:
    """What was refused for its form was never made, also where everybody may."""
    for method, tail, headers, body, query in WRONG:
        sent = {"content-type": "application/json"} | headers
        await gateway.http.request(method, f"/v1/state/open{tail}{query}", content=body, headers=sent)
    assert (await gateway.http.get("/v1/state/open")).json()["items"] == []


@pytest.mark.parametrize("path", ["/v1/auth/me?x=1", "/v1/modules?page_size=x"])
async def test_routes_that_always_need_a_token_say_so_first(gateway, is_problem, path) -> None:
    """Of the platform's own routes likewise."""
    is_problem(await gateway.http.get(path), 401, "UNAUTHENTICATED")
    is_problem(await gateway.http.get(path, headers=ADA), 422, "INVALID_INPUT")


@pytest.mark.parametrize(
    ("query", "pointers"),
    [
        ("colour=red", ["/colour"]),
        ("page_size=1&page_size=2", ["/page_size"]),
        ("Page_size=1&a~/b=2", ["/Page_size", "/a~0~1b"]),
        ("page_size=501", ["/page_size"]),
        ("page_size=x", ["/page_size"]),
        *((f"page_size={text}", ["/page_size"]) for text in ("1_0", "%2B1", "+1", "01", "1.0", "1e1", "", "%D9%A1", "-1")),
        ("page_token=%00", ["/page_token"]),
        ("page_token=" + "a" * 5000, ["/page_token"]),
    ],
)
@pytest.mark.parametrize("path", ["/v1/state/notes", "/v1/state/notes/k/history", "/v1/actions", "/v1/modules"])
async def test_a_query_is_refused_at_the_parameter(gateway, is_problem, path, query, pointers) -> None:
    """Every list alike: what is unknown, stands twice or is out of bounds is named as a field of the input."""
    found = is_problem(await gateway.http.get(f"{path}?{query}", headers=ADA), 422, "INVALID_INPUT")
    assert [entry["pointer"] for entry in found["errors"]] == pointers


BODIES = [
    ("POST", "/v1/auth/register", {"email": "a@example.com", "password": "x" * 9}),
    ("POST", "/v1/auth/first-admin", {"token": "t", "email": "a@example.com", "password": "x" * 9}),
    ("POST", "/echo", {"inner": {}}),
    ("POST", "/v1/actions/notes.echo", {"inner": {}}),
    ("POST", "/slots/7/bookings", {"patient": {}}),
    ("PUT", "/v1/state/notes/form", {"data": {}}),
    ("PATCH", "/v1/state/notes/form", {"a": 1}),
    ("POST", "/v1/state/notes/form/transitions/publish", {"data": {}}),
]


@pytest.mark.parametrize(("method", "path", "value"), BODIES)
async def test_json_is_utf_8_and_nothing_else(gateway, is_problem, method, path, value) -> None:
    """No other encoding and no byte order mark, whatever a parser would guess (RFC 8259 §8.1)."""
    import json

    text = json.dumps(value)
    spelled = [text.encode(kind) for kind in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")]
    for body in (*spelled, codecs.BOM_UTF8 + text.encode(), text.encode()[:-1] + b"\xff}"):
        is_problem(await gateway.http.request(method, path, content=body, headers=ADA), 400, "MALFORMED_JSON")


@pytest.mark.parametrize(("method", "path", "value"), BODIES)
@pytest.mark.parametrize("odd", [b"1e400", b"9" * 40, b"[" * 1000 + b"]" * 1000, b'"\\u0000"', b"9" * 5000])
async def test_json_that_cannot_be_carried_is_wrong_input(gateway, method, path, value, odd) -> None:
    """It is JSON all right: 422, never 400 and never a defect."""
    answer = await gateway.http.request(method, path, content=b'{"odd": ' + odd + b"}", headers=ADA)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in {"INVALID_INPUT", "ACTION_INPUT_INVALID", "STATE_DATA_INVALID"}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_body_that_is_needed_must_be_there(gateway, is_problem, method) -> None:
    """Nothing at all is not JSON."""
    is_problem(await gateway.http.request(method, "/v1/state/notes/form", headers=ADA), 400, "MALFORMED_JSON")


@pytest.mark.parametrize(("body", "pointer"), [({"places": ["a/b"]}, "/places/0"), ({"places": ["ok", ""]}, "/places/1")])
async def test_what_a_handler_sends_on_is_refused_where_the_caller_wrote_it(gateway, is_problem, body, pointer) -> None:
    """The state service says `/key`; the caller wrote another name, and reads that."""
    answer = await gateway.http.post("/v1/actions/notes.keep", json=body, headers=ADA)
    found = is_problem(answer, 422, "STATE_KEY_INVALID")
    assert [entry["pointer"] for entry in found["errors"]] == [pointer]


def _coded(path: str, body: bytes, coding: str) -> dict:
    kind = "application/merge-patch+json" if path == "/v1/state/notes/coded" else "application/json"
    return {"content": body, "headers": ADA | {"content-type": kind, "content-encoding": coding}}


@pytest.mark.parametrize(("method", "path", "body"), [*BODIES, ("PATCH", "/v1/state/notes/coded", {"a": 1})])
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", "aes128gcm"])
async def test_a_coded_body_is_refused(gateway, is_problem, method, path, body, coding) -> None:
    """What is compressed is not read as if it were not, at every route with a body, even where it could be read."""
    content = orjson.dumps(body)
    for sent in (content, gzip.compress(content)):
        answer = await gateway.http.request(method, path, **_coded(path, sent, coding))
        is_problem(answer, 415, "CONTENT_CODING_UNSUPPORTED")
        assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["identity", "Identity", "", "identity, identity"])
async def test_no_coding_by_its_name_is_none(gateway, coding) -> None:
    """Clients that say that they did nothing are served (RFC 9110 §12.5.3)."""
    path = "/v1/state/notes/uncoded"
    assert (await gateway.http.put(path, **_coded(path, b'{"data": {}}', coding))).status_code == 200
    assert (await gateway.http.post("/echo", **_coded("/echo", b'{"inner": {}}', coding))).status_code == 200


@pytest.mark.parametrize(
    ("method", "tail", "body", "pointer"),
    [
        ("GET", "/k%00", None, "/key"),
        ("GET", "/k%00/history", None, "/key"),
        ("PUT", "/k%00", {"data": {}}, "/key"),
        ("PATCH", "/k%00", {}, "/key"),
        ("DELETE", "/k%00", None, "/key"),
        ("POST", "/k%00/transitions/publish", None, "/key"),
        ("POST", "/typed/transitions/publish%00", None, "/event"),
        ("PUT", "/typed", {"data": {"text": 5}}, "/data/text"),
        ("PUT", "/typed", {"data": 5}, "/data"),
        ("PATCH", "/typed", {"text": 5}, "/text"),
        ("POST", "/typed/transitions/publish", {"data": {"text": 5}}, "/data/text"),
        ("POST", "/typed/transitions/publish", {"data": []}, "/data"),
    ],
)
async def test_a_finding_about_an_object_stands_where_it_was_sent(gateway, is_problem, method, tail, body, pointer) -> None:
    """A parameter of the path by its name, a place in the data by where it stands in the body of this very request."""
    await gateway.http.put("/v1/state/typed/typed", content=b'{"data": {}}', headers=ADA)
    content = b"" if body is None else orjson.dumps(body)
    answer = await gateway.http.request(method, f"/v1/state/typed{tail}", content=content, headers=ADA)
    assert [entry["pointer"] for entry in is_problem(answer, 422, answer.json()["code"])["errors"]] == [pointer]
