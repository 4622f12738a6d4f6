"""Sessions in cookies at the door: who counts by them, what proves a change, what answers say. Renewing them is a test of e2e."""

from typing import Any

import pytest
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.head import Head
from stylobate_gateway.session_cookies import SessionCookies

pytestmark = pytest.mark.asyncio(loop_scope="module")
WHOAMI = "/v1/actions/notes.whoami"


def _csrf(gateway: Any, session: str = "") -> str:
    return str(gateway.app.identity.seal(b"csrf", f"default\0{session}".encode()))


async def _ask(gateway: Any, cookie: str, method: str = "POST", **headers: str) -> Any:
    path = WHOAMI if method == "POST" else "/v1/state/notes/nothing"
    return await gateway.http.request(method, path, headers={"cookie": cookie, **headers}, json={} if method == "POST" else None)


async def test_a_cookie_says_who_asks(gateway: Any) -> None:
    """With the token of its session beside it, for a change; no shared cache keeps the answer."""
    answer = await _ask(gateway, "a=b; stylobate_access=ada", **{"x-csrf-token": _csrf(gateway)})
    assert (answer.status_code, "ada" in answer.text) == (200, True)
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("token", ["", "made up", "é", "A" * 86, "of another session"])
async def test_a_change_without_its_token_is_refused(gateway: Any, token: str) -> None:
    """Missing, made up, or of another session: 403; reading needs none."""
    told = _csrf(gateway, "another") if token == "of another session" else token
    more = {"x-csrf-token": told} if token else {}
    answer = await gateway.http.post(WHOAMI, headers=[(b"cookie", b"stylobate_access=ada"), *_raw(more)], json={})
    assert (answer.status_code, answer.json()["code"]) == (403, "CSRF_REFUSED")
    assert (await _ask(gateway, "stylobate_access=ada", "GET")).json()["code"] == "STATE_NOT_FOUND"


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


async def test_what_the_header_says_goes_first(gateway: Any) -> None:
    """A token or a key in it needs no proof, since no other page can send it; the cookies count for nothing then."""
    for name, value in (("authorization", "Bearer ada"), ("x-api-key", "stylo_a")):
        answer = await _ask(gateway, "stylobate_access=bob", **{name: value})
        assert (answer.status_code, "bob" in answer.text) == (200, False)
        assert "cache-control" not in answer.headers


async def test_a_session_that_is_over_takes_its_cookies_away(gateway: Any) -> None:
    """So the next request is nobody's; also one that does not hold and cannot be renewed, and two cookies of one name."""
    for cookie in ("stylobate_access=gone", "stylobate_access=nobody7", "stylobate_access=stylo_a"):
        answer = await _ask(gateway, cookie, **{"x-csrf-token": _csrf(gateway)})
        assert (answer.status_code, answer.headers["cache-control"]) == (401, "no-store")
        cleared = answer.headers.get_list("set-cookie")
        assert [one.partition("=")[0] for one in cleared] == ["stylobate_access", "stylobate_refresh", "stylobate_csrf"]
        assert all("Max-Age=0" in one for one in cleared)
    answer = await _ask(gateway, "stylobate_access=ada; stylobate_access=bob")
    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_INVALID")


async def test_cookies_stay_while_they_cannot_be_renewed(gateway: Any) -> None:
    """Auth is away, or there is nothing of ours among the cookies: nobody is logged out by that."""
    answer = await _ask(gateway, "stylobate_access=expired7; stylobate_refresh=r", **{"x-csrf-token": _csrf(gateway)})
    assert (answer.status_code >= 500, "set-cookie" in answer.headers) == (True, False)  # there is no auth here
    answer = await _ask(gateway, "stylobate_access=; theirs=1; =; ;stylobate_refresh", "GET")
    assert "cache-control" not in answer.headers


async def test_a_public_path_looks_at_no_cookie(gateway: Any) -> None:
    """A stale one keeps nobody from the catalogue or from logging in."""
    assert (await gateway.http.get("/openapi.json", headers={"cookie": "stylobate_access=gone"})).status_code == 200


async def test_it_can_be_switched_off(run_gateway: Any) -> None:
    """Then cookies count for nothing, pages of other origins may not send any, and a login that asks for them is refused."""
    async with run_gateway(browser_sessions=False) as gateway:
        assert (await _ask(gateway, "stylobate_access=ada", **{"x-csrf-token": _csrf(gateway)})).status_code == 401
        body, mode = {"email": "ada@example.com", "password": "x"}, {"x-session-mode": "cookie"}
        answer = await gateway.http.post("/v1/auth/login", json=body, headers=mode)
        assert (answer.status_code, answer.json()["code"]) == (400, "BROWSER_SESSIONS_OFF")
        answer = await gateway.http.get("/openapi.json", headers={"origin": "http://localhost:3000"})
        assert "access-control-allow-credentials" not in answer.headers


async def test_pages_of_origins_that_are_let_in_may_send_cookies(run_gateway: Any) -> None:
    """Those that are named, never all of them; the token and the mode are headers that they may send."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "x-csrf-token, x-session-mode"}
    for origins, origin, is_told in ((("https://a.example",), "https://a.example", True), (("*",), "https://b.example", False)):
        async with run_gateway(cors_origins=origins) as gateway:
            answer = await gateway.http.options(WHOAMI, headers={"origin": origin} | asked)
            assert answer.status_code == 200
            assert ("access-control-allow-credentials" in answer.headers) is is_told


async def test_outside_development_no_other_host_can_set_them() -> None:
    """Browsers take a name with this prefix over TLS only, for the whole of one host; scripts read the CSRF token alone."""
    cookies = SessionCookies(is_secure=True)
    access, refresh, csrf = (one.decode() for one in cookies.setting("a", "r", "c", 60))
    assert access == "__Host-stylobate_access=a; Path=/; SameSite=Lax; Secure; HttpOnly; Max-Age=60"
    assert refresh == "__Host-stylobate_refresh=r; Path=/; SameSite=Lax; Secure; HttpOnly; Max-Age=60"
    assert csrf == "__Host-stylobate_csrf=c; Path=/; SameSite=Lax; Secure; Max-Age=60"
    bare = Exchange(Head("GET", "/", b"/", [(b"cookie", b"stylobate_access=a")]))
    assert cookies.held(bare) is None
    assert not any(b"Max-Age" in one for one in cookies.setting("a", "r", "c", None))
