"""What a stranger's request may be called and whom it may pretend to ask."""

from collections.abc import AsyncIterator

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = [
    "/v1/auth/me",
    "/v1/auth/login",
    "/v1/actions",
    "/v1/modules",
    "/v1/state/notes",
    "/v1/state/notes/k/history",
    "/openapi.json",
    "/docs",
    "/.well-known/jwks.json",
    "/problems/not-found",
    "/static-offline-docs/swagger-ui.css",
    "/count",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("tail", ["%0A", "%0D%0A", "%00", "%20", "%0a%0a"])
async def test_no_route_takes_a_longer_path_for_its_own(gateway, path, tail) -> None:
    """A line feed behind a path is part of it: nothing is there."""
    answer = await gateway.http.get(path + tail)
    assert answer.status_code in {404, 422} if path.startswith("/v1/state/") else answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    "path", ["/v1/auth%2Fme", "/v1/actions%2Fnotes.count", "/v1/state/notes%2fk", "/v1/state/notes/k%2Fhistory"]
)
async def test_an_encoded_slash_separates_nothing(gateway, is_problem, path) -> None:
    """What is reached with a slash is not reached with an encoded one."""
    is_problem(await gateway.http.get(path), 404, "ROUTE_NOT_FOUND")


@pytest.mark.parametrize("path", ["/v1/state/notes/k", "/v1/actions/notes.count", "/v1/auth/me", "/slots/7", "/"])
@pytest.mark.parametrize("tail", ["%ff", "%fe", "%c3", "%", "%zz", "%ed%a0%80"])
async def test_what_is_no_utf8_is_no_path(gateway, is_problem, path, tail) -> None:
    """It never stands for a replacement character: two names cannot become one."""
    for method in ("GET", "PUT", "POST"):
        is_problem(await gateway.http.request(method, httpx.URL("/", raw_path=(path + tail).encode())), 400, "MALFORMED_PATH")


@pytest.mark.parametrize("digits", [18, 19, 20])
async def test_a_body_of_any_length_is_refused_at_once(gateway, split_answer, digits) -> None:
    """However many digits its length has, nothing of it is waited for."""
    length = b"1" + b"0" * (digits - 1)
    head = b"POST /v1/actions/notes.count HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: " + length + b"\r\n\r\n"
    status, _, body = split_answer(await gateway.send(head))
    assert (status, body["code"]) == (413, "PAYLOAD_TOO_LARGE")


ACCOUNTS = ["register", "login", "refresh", "logout"]


@pytest.mark.parametrize("path", ACCOUNTS)
async def test_bodies_for_accounts_are_small(gateway, is_problem, path) -> None:
    """They are open to everyone, and an e-mail and a password are short: 413 by the announced length, else as it arrives."""
    headers = {"content-type": "application/json"}

    async def ask(size: int, *, is_announced: bool) -> httpx.Response:
        body = b" " * size

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        return await gateway.http.post(f"/v1/auth/{path}", content=body if is_announced else pieces(), headers=headers)

    for is_announced in (True, False):
        is_problem(await ask(16 * 1024 + 1, is_announced=is_announced), 413, "PAYLOAD_TOO_LARGE")
        assert (await ask(16 * 1024, is_announced=is_announced)).status_code in {400, 401, 422}


@pytest.mark.parametrize("path", ["/v1/state/notes", "/count", "/v1/actions/notes.count", "/v1/auth/me", "/nowhere"])
async def test_a_query_has_a_bounded_number_of_parameters(gateway, is_problem, path) -> None:
    """Each that is not known is named in the answer: up to a hundred of them, and a thousand at most are looked at."""
    document = is_problem(await gateway.http.get(path + "?" + "&".join(["a=b"] * 1001)), 422, "INVALID_INPUT")
    assert "1000 parameters" in document["detail"]
    answer = await gateway.http.get(path + "?" + "&".join(f"a{number}=b" for number in range(1000)))
    assert len(answer.json().get("errors", [])) <= 100


@pytest.mark.parametrize("framing", [b"content-length: 100000", b"transfer-encoding: chunked"])
async def test_a_large_body_is_charged_before_it_is_read(run_gateway, split_answer, framing) -> None:
    """Who calls too often is told so at the head: nobody waits for what they would send."""
    async with run_gateway(edge_ip="1/hour") as gateway:
        await gateway.http.get("/count")
        head = b"POST /v1/actions/notes.count HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + framing + b"\r\n\r\n"
        status, _, body = split_answer(await gateway.send(head))
        assert (status, body["code"]) == (429, "RATE_LIMITED")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.example"])
async def test_in_development_a_strangers_name_finds_nothing(gateway, is_problem, host) -> None:
    """DNS rebinding: a page under its own name gets no answer from this machine, whatever it asks."""
    for method, path in (("GET", "/"), ("GET", "/openapi.json"), ("POST", "/v1/auth/login"), ("POST", "/v1/actions/notes.count")):
        is_problem(await gateway.http.request(method, path, headers={"host": host}), 403, "HOST_REFUSED")


async def test_own_names_are_answered(gateway, run_gateway) -> None:
    """Loopback names, addresses, names without a dot, and those that were named; in production the name is no matter."""
    for host in ("localhost:8080", "127.0.0.1", "[::1]:8080", "gateway", "shop.localhost"):
        assert (await gateway.http.get("/problems/not-found", headers={"host": host})).status_code == 200
    async with run_gateway((), hosts=("dev.shop.example",)) as named:
        assert (await named.http.get("/problems/not-found", headers={"host": "dev.shop.example"})).status_code == 200
    async with run_gateway((), environment="production") as open_to_all:
        assert (await open_to_all.http.get("/problems/not-found", headers={"host": "shop.example"})).status_code == 200


async def test_preflights_are_charged_like_any_request(run_gateway, is_problem) -> None:
    """Asking whether one may ask is asking."""
    page = {"origin": "http://localhost:3000", "access-control-request-method": "POST"}
    async with run_gateway((), edge_ip="3/hour") as gateway:
        found = [(await gateway.http.options("/v1/auth/login", headers=page)).status_code for _ in range(3)]
        assert found == [200, 200, 200]
        is_problem(await gateway.http.options("/v1/auth/login", headers=page), 429, "RATE_LIMITED")
        is_problem(await gateway.http.get("/v1/auth/me"), 429, "RATE_LIMITED")
