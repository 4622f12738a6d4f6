"""A browser's session: in cookies from the login to the logout, renewed on the way."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS

from tests.people import PASSWORD, Person

MODE = {"x-session-mode": "cookie"}
ORDER = {"items": [{"sku": "tea", "quantity": 1}]}


@pytest.fixture
def ada(platform: Any) -> Any:
    """Give somebody who is logged in with cookies."""
    with Person(platform.gateway) as person:
        person.register()
        del person.http.headers["authorization"]
        answer = person.http.post("/v1/auth/login", json={"email": person.email, "password": PASSWORD}, headers=MODE)
        assert answer.status_code == 200, answer.text
        person.http.headers["x-csrf-token"] = answer.json()["csrf_token"]
        yield person


def test_the_tokens_are_in_cookies(ada: Person) -> None:
    """And nowhere else; the one that scripts can read is the CSRF token, which answers also say where a page asks."""
    answer = ada.http.post("/v1/auth/login", json={"email": ada.email, "password": PASSWORD}, headers=MODE)
    assert answer.json().keys() == {"csrf_token", "expires_in", "user"}
    found = {one.partition("=")[0]: one for one in answer.headers.get_list("set-cookie")}
    assert {name: "HttpOnly" in one for name, one in found.items()} == {
        "stylobate_access": True,
        "stylobate_refresh": True,
        "stylobate_csrf": False,
    }
    assert all("SameSite=Lax; " in one and "Path=/" in one and "Max-Age=25" in one for one in found.values())
    assert ada.http.cookies["stylobate_csrf"] == answer.json()["csrf_token"] == answer.headers["x-csrf-token"]
    me = ada.http.get("/v1/auth/me")
    assert (me.json()["email"], me.headers["x-csrf-token"]) == (ada.email, answer.json()["csrf_token"])


def test_changes_need_the_token(ada: Person) -> None:
    """Placing an order, by name and by its route; logging out too."""
    assert ada.act("shop.place_order", ORDER).status_code == 200
    assert ada.http.post("/orders", json=ORDER).status_code == 200
    token = ada.http.headers.pop("x-csrf-token")
    for path in ("/v1/actions/shop.place_order", "/orders", "/v1/auth/logout"):
        answer = ada.http.post(path, json=ORDER)
        assert (answer.status_code, answer.json()["code"]) == (403, "CSRF_REFUSED")
    assert ada.http.get("/v1/auth/me").status_code == 200
    ada.http.headers["x-csrf-token"] = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1]
    assert ada.http.post("/v1/auth/logout").status_code == 403


def test_requests_renew_the_session(ada: Person) -> None:
    """Twenty at once whose access cookie has expired: all are served, with one next refresh cookie, and the token stays."""
    before = dict(ada.http.cookies)
    headers = {"x-csrf-token": ada.http.headers["x-csrf-token"], "cookie": f"stylobate_refresh={before['stylobate_refresh']}"}

    def ask(_: int) -> httpx.Response:
        with httpx.Client(base_url=ada.http.base_url, verify=NO_TLS, timeout=60) as other:
            return other.post("/v1/actions/shop.place_order", json=ORDER, headers=headers)

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(ask, range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    (newer,) = {answer.cookies["stylobate_refresh"] for answer in answers}
    assert newer != before["stylobate_refresh"]
    assert {answer.cookies["stylobate_csrf"] for answer in answers} == {before["stylobate_csrf"]}
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    for answer in answers:
        cookie = f"stylobate_access={answer.cookies['stylobate_access']}"
        assert httpx.get(f"{ada.http.base_url}/v1/auth/me", headers={"cookie": cookie}, verify=NO_TLS).status_code == 200


def test_a_token_that_does_not_hold_is_renewed(ada: Person) -> None:
    """An access cookie of another key, or cut: the refresh cookie counts. A made-up refresh cookie takes all away."""
    ada.http.cookies.set("stylobate_access", "a.b.c", domain="127.0.0.1", path="/")
    assert ada.http.get("/v1/auth/me").status_code == 200
    assert ada.http.cookies["stylobate_access"] != "a.b.c"
    answer = httpx.get(f"{ada.http.base_url}/v1/auth/me", headers={"cookie": "stylobate_refresh=made-up"}, verify=NO_TLS)
    assert (answer.status_code, answer.json()["code"]) == (401, "AUTH_REFRESH_INVALID")
    assert all("Max-Age=0" in one for one in answer.headers.get_list("set-cookie"))


def test_logging_out_clears_all(ada: Person) -> None:
    """The cookies are gone from the browser, and a copy of them is refused."""
    copy = "; ".join(f"{name}={value}" for name, value in ada.http.cookies.items())
    assert ada.http.post("/v1/auth/logout").status_code == 204
    assert not ada.http.cookies
    answer = httpx.get(f"{ada.http.base_url}/v1/auth/me", headers={"cookie": copy}, verify=NO_TLS)
    assert (answer.status_code, answer.json()["code"]) == (401, "TOKEN_REVOKED")
    assert ada.http.get("/v1/auth/me").json()["code"] == "UNAUTHENTICATED"


def test_another_mode_is_refused(ada: Person) -> None:
    """Nothing is guessed."""
    answer = ada.http.post("/v1/auth/login", json={"email": ada.email, "password": PASSWORD}, headers={"x-session-mode": "both"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_HEADER")
