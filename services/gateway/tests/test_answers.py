"""What the gateway answers on its own: problems, methods, media types, pages of other origins, the pages of problems."""

import asyncio
import re

import grpc
import httpx
import pytest
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.errors import StylobateError
from stylobate.http.asgi import Receive, Scope, Send
from stylobate.http.problem import problem_headers
from stylobate.telemetry import REGISTRY
from stylobate.testing.plain_http import NO_TLS
from stylobate_gateway.called_actions import CalledAction
from stylobate_gateway.door import Door

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAGE = {"origin": "http://localhost:3000"}
ADA = {"authorization": "Bearer ada"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("DELETE", "/echo", 405), ("POST", "/v1/actions/notes.whoami", 401), ("GET", "/v1/auth/me", 401)],
)
async def test_a_page_of_another_origin_can_read_refusals(gateway, method, path, status) -> None:
    """A browser hands the problem to the page as it would hand it the answer, and the request id with it."""
    headers = PAGE | ({"authorization": "Bearer gone"} if path.startswith("/v1/auth") else {})
    answer = await gateway.http.request(method, path, headers=headers)
    assert answer.status_code == status
    assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
    assert "X-Request-Id" in answer.headers["access-control-expose-headers"]


async def test_a_defect_says_nothing_of_itself(gateway, is_problem) -> None:
    """The text of an exception nobody foresaw stays inside."""
    answer = await gateway.http.post("/v1/actions/notes.fail", json={})
    is_problem(answer, 500, "ACTION_FAILED")
    assert "passwd" not in answer.text


async def test_a_defect_behind_a_route_is_a_problem_too(run_gateway, is_problem) -> None:
    """What a route itself raises unforeseen is answered like the rest, and the connection lives on."""
    async with run_gateway(catalogue_seconds=3600) as gateway:
        catalogue = gateway.app.checks["catalogue"].__self__
        catalogue.actions, catalogue.version = (Action(name="a.b", module="a", output_schema=b"no schema"),), 7
        catalogue.called = {"a.b": CalledAction("a.b")}
        for _ in range(2):
            answer = await gateway.http.get("/openapi.json", headers=PAGE)
            is_problem(answer, 500, "INTERNAL")
            assert answer.headers["access-control-allow-origin"] == PAGE["origin"]
            assert "no schema" not in answer.text
            assert "connection" not in answer.headers


async def test_half_an_answer_is_never_taken_for_the_whole() -> None:
    """When an error comes after an answer has begun the connection breaks."""

    async def broken(scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half of ", "more_body": True})
        raise RuntimeError("the other half")

    bound = bind("127.0.0.1:0")
    application = Door(broken, timeout_s=1, trace_ratio=0, loop=asyncio.get_running_loop())
    listener = HttpListener(application, bound, grace_s=1)
    await listener.start()
    try:
        async with httpx.AsyncClient(verify=NO_TLS) as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"http://127.0.0.1:{bound.getsockname()[1]}/")
    finally:
        await listener.stop()


@pytest.mark.parametrize("path", ["/", "/openapi.json", "/v1/actions", "/v1/actions/notes.echo", "/count", "/v1/state/notes"])
async def test_head_is_get_without_the_body(gateway, path) -> None:
    """Where there is GET there is HEAD, with the same status and type (RFC 9110 §9.3.2)."""
    got, head = await gateway.http.get(path), await gateway.http.head(path)
    assert (head.status_code, head.headers["content-type"]) == (200, got.headers["content-type"])
    assert head.content == b""
    assert got.content != b""


async def test_head_of_nothing_has_no_body_either(gateway) -> None:
    """The next answer on the connection is not mistaken for the body of this one."""
    assert (await gateway.http.head("/nowhere")).status_code == 404
    assert (await gateway.http.get("/v1/actions")).status_code == 200


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/echo", "OPTIONS, POST"),
        ("/count", "GET, HEAD, OPTIONS"),
        ("/v1/actions/notes.echo", "GET, HEAD, OPTIONS, POST"),
        ("/v1/actions", "GET, HEAD, OPTIONS"),
        ("/v1/state/notes/x", "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
    ],
)
async def test_the_methods_of_a_resource_are_named(gateway, is_problem, path, allow) -> None:
    """A 405 lists what would work, HEAD with GET; OPTIONS asks for it, and is no refusal."""
    answer = await gateway.http.request("PURGE", path)
    is_problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == allow
    told = await gateway.http.options(path)
    assert (told.status_code, told.headers["allow"], told.content) == (204, allow, b"")
    assert not {"content-length", "content-type"} & told.headers.keys()
    is_problem(await gateway.http.options("/nowhere"), 404, "ROUTE_NOT_FOUND")


async def test_the_server_as_a_whole_is_asked_for_by_an_asterisk(gateway, split_answer) -> None:
    """`OPTIONS *` names all methods that anything knows, behind a call of the fast lane too; no other method has it."""
    call = b"POST /v1/actions/notes.echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
    told = b"OPTIONS * HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    head, _, body = (await gateway.send(call + told)).partition(b"HTTP/1.1 204")[2].partition(b"\r\n\r\n")
    assert b"\r\nallow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n" in head
    assert body == b""
    status, _, problem = split_answer(await gateway.send(told.replace(b"OPTIONS", b"GET")))
    assert (status, problem["code"]) == (400, "MALFORMED_REQUEST")
    by_proxy = await gateway.send(told.replace(b"*", b"http://x"))
    assert b"\r\nallow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n" in by_proxy
    told = b"GET /?a=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    by_path, by_proxy = await gateway.send(told), await gateway.send(told.replace(b"/?", b"http://x?", 1))
    assert by_proxy.partition(b"\r\n")[0] == by_path.partition(b"\r\n")[0] != b"HTTP/1.1 400 Bad Request"


async def test_a_request_is_counted_by_its_route(gateway) -> None:
    """Time and number stand under the declared path, HEAD's too; what nobody declares has one label for all."""

    def count(method: str, route: str, status: int) -> float:
        labels = {"method": method, "route": route}
        seconds = REGISTRY.get_sample_value("stylobate_http_request_seconds_count", labels) or 0
        number = REGISTRY.get_sample_value("stylobate_http_requests_total", labels | {"status": str(status)}) or 0
        assert seconds >= number
        return number

    asked = [
        ("GET", "/v1/state/notes/none", "/v1/state/{namespace}/{key}", 404),
        ("HEAD", "/v1/state/notes/none", "/v1/state/{namespace}/{key}", 404),
        ("GET", "/count", "/v1/actions/notes.count", 200),
        ("GET", "/nobody/declares/this", "none", 404),
        ("POST", "/v1/actions/notes.none", "/v1/actions/{name}", 404),
    ]
    for method, path, route, status in asked:
        before = count(method, route, status)
        assert (await gateway.http.request(method, path)).status_code == status
        assert count(method, route, status) == before + 1, path


async def test_in_development_an_answer_says_how_long_it_took(gateway, run_gateway) -> None:
    """Only there: it tells strangers more than they need."""
    assert re.fullmatch(r"total;dur=\d+\.\d", (await gateway.http.get("/count")).headers["server-timing"])
    async with run_gateway(environment="production") as other:
        assert "server-timing" not in (await other.http.get("/count")).headers


@pytest.mark.parametrize("path", ["/v1/actions/", "/echo/", "/v1/auth/me/", "/v1/state/notes/", "/docs/"])
async def test_a_slash_at_the_end_is_another_path(gateway, path) -> None:
    """Nobody is sent elsewhere: a redirect would drop a body, or carry a token to where it was not meant to go."""
    assert (await gateway.http.post(path, json={}, headers=ADA)).status_code in (404, 405)
    assert (await gateway.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "taken"),
    [
        ("POST", "/v1/actions/notes.echo", {"application/json"}),
        ("POST", "/echo", {"application/json"}),
        ("POST", "/v1/auth/register", {"application/json"}),
        ("PUT", "/v1/state/notes/1", {"application/json"}),
        ("PATCH", "/v1/state/notes/1", {"application/json", "application/merge-patch+json"}),
        ("POST", "/v1/state/notes/1/transitions/publish", {"application/json"}),
    ],
)
async def test_a_body_of_another_type_is_not_read(gateway, is_problem, method, path, taken) -> None:
    """415 everywhere, whatever the body holds; the types that are taken pass, with parameters and in any case."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/json-patch+json", ""):
        answer = await gateway.http.request(method, path, content=b"{}", headers=ADA | {"content-type": kind})
        is_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
    for kind in taken:
        headers = ADA | {"content-type": f"{kind.upper()}; charset=utf-8"}
        answer = await gateway.http.request(method, path, content=b"[", headers=headers)
        assert answer.status_code in (400, 422), answer.text


async def test_no_body_needs_no_type(gateway) -> None:
    """An empty body says nothing, whatever it calls itself."""
    for kind in ("", "text/plain"):
        assert (await gateway.http.get("/count", headers={"content-type": kind})).status_code == 200
        answer = await gateway.http.post("/v1/actions/notes.echo", headers={"content-type": kind})
        assert answer.status_code == 422  # it needs an input


async def test_refused_tokens_say_why(gateway, is_problem) -> None:
    """401 carries the challenge of RFC 6750, with the error where a token was given."""
    nobody = await gateway.http.post("/v1/actions/notes.whoami", json={})
    is_problem(nobody, 401, "UNAUTHENTICATED")
    assert nobody.headers["www-authenticate"] == 'Bearer realm="stylobate"'
    revoked = await gateway.http.post("/v1/actions/notes.whoami", json={}, headers={"authorization": "Bearer gone"})
    is_problem(revoked, 401, "TOKEN_REVOKED")
    assert 'error="invalid_token"' in revoked.headers["www-authenticate"]


async def test_a_challenge_cannot_be_broken_out_of() -> None:
    """Whatever a detail holds, it stays within its quotes and its line."""
    detail, metadata = 'a"b\\c\r\nset-cookie: d=ä', {"allow": "\r\nx: y"}
    error = StylobateError.of(code=grpc.StatusCode.UNAUTHENTICATED, reason="TOKEN_INVALID", detail=detail, metadata=metadata)
    headers = dict(problem_headers(error))
    assert b"\r" not in headers[b"www-authenticate"]
    assert headers[b"www-authenticate"].count(b'"') == 6
    assert b"allow" not in headers


async def test_outside_development_there_is_no_home_page(run_gateway, is_problem) -> None:
    """What is loaded is nobody's business there, and pages of other origins are not let in."""
    async with run_gateway(environment="production") as gateway:
        answer = await gateway.http.get("/", headers=PAGE)
        is_problem(answer, 404, "ROUTE_NOT_FOUND")
        assert "access-control-allow-origin" not in answer.headers


async def test_bodies_over_the_limit_are_refused(run_gateway, is_problem) -> None:
    """By the announced length before anything is read, and as they arrive; the limit itself passes."""
    json = {"content-type": "application/json"}
    async with run_gateway(max_body_bytes=10) as gateway:

        async def chunks(size: int):
            for _ in range(size):
                yield b" "

        for content in (b" " * 11, chunks(11)):
            is_problem(await gateway.http.post("/echo", content=content, headers=json), 413, "PAYLOAD_TOO_LARGE")
        for content in (b'{"a": 1}  ', chunks(10)):
            assert (await gateway.http.post("/echo", content=content, headers=json)).status_code in (200, 400)
