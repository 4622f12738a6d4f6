"""What is wrong with a request is answered as a problem with a stable code, before anything happens (RFC 9457)."""

import json
from datetime import timedelta

import httpx
import pytest
from stylobate.testing.until import wait_until

from tests.people import PASSWORD, Person, logged_out

ORDER = {"items": [{"sku": "tea", "quantity": 1}]}
JSON = {"content-type": "application/json"}
UNKNOWN_ID = "00000000-0000-7000-8000-000000000000"


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict:
    """Hold the answer against RFC 9457 and the platform's own promises; return the document."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code.lower().replace('_', '-')}"
    assert problem["instance"] == answer.request.url.raw_path.partition(b"?")[0].decode()  # a URI reference: as it was sent
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert problem["title"]
    assert problem["detail"]
    return problem


def pointers(problem: dict) -> list[str]:
    """Return where the findings are."""
    return sorted(entry["pointer"] for entry in problem["errors"])


@pytest.fixture(scope="module")
def somebody(platform):
    """Give one person for all requests that change nothing."""
    with Person(platform.gateway, "somebody") as person:
        yield person.register()


@pytest.fixture(scope="module")
def order(somebody):
    """Give an order of that person."""
    return somebody.order()


@pytest.fixture
def nobody(platform):
    """Give a client without a token."""
    with logged_out(platform.gateway) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/auth/register"),
        ("POST", "/v1/auth/login"),
        ("POST", "/v1/actions/shop.place_order"),
        ("POST", "/orders"),
        ("PUT", "/v1/state/orders/{order}"),
        ("PATCH", "/v1/state/orders/{order}"),
        ("POST", "/v1/state/orders/{order}/transitions/pay"),
    ],
)
@pytest.mark.parametrize("body", [b'{"items": ', b'{"data": "\xff"}', b"{'a': 1}"], ids=["cut off", "not UTF-8", "not JSON"])
def test_malformed_json_is_400(somebody, order, method, path, body):
    """A body that is not JSON is refused as such, wherever it is sent and however the person stands to the resource."""
    assert_problem(somebody.http.request(method, path.format(order=order), content=body, headers=JSON), 400, "MALFORMED_JSON")


REGISTER, LOGIN, PLACE = "/v1/auth/register", "/v1/auth/login", "/v1/actions/shop.place_order"
ADDRESS = "a@example.com"


@pytest.mark.parametrize(
    ("path", "body", "code", "where"),
    [
        (REGISTER, {"email": 7, "password": PASSWORD}, "INVALID_INPUT", ["/email"]),
        (REGISTER, {"email": ADDRESS}, "INVALID_INPUT", ["/password"]),
        (REGISTER, {"email": "no address", "password": PASSWORD}, "AUTH_INVALID_INPUT", ["/email"]),
        (REGISTER, {"email": ADDRESS, "password": PASSWORD, "admin": True}, "INVALID_INPUT", ["/admin"]),
        (REGISTER, {"email": ADDRESS, "password": "short"}, "INVALID_INPUT", ["/password"]),
        (LOGIN, {"email": ["a"], "password": 1}, "INVALID_INPUT", ["/email", "/password"]),
        ("/v1/auth/refresh", [], "INVALID_INPUT", [""]),
        (PLACE, {}, "ACTION_INPUT_INVALID", ["/items"]),
        (PLACE, {"items": []}, "ACTION_INPUT_INVALID", ["/items"]),
        (PLACE, {"items": [{"sku": "tea", "quantity": "2"}]}, "ACTION_INPUT_INVALID", ["/items/0/quantity"]),
        (PLACE, {"items": [{"sku": 1, "quantity": 0}]}, "ACTION_INPUT_INVALID", ["/items/0/quantity", "/items/0/sku"]),
        (PLACE, ORDER | {"total": 1}, "ACTION_INPUT_INVALID", ["/total"]),
        ("/orders", {"items": 5}, "ACTION_INPUT_INVALID", ["/items"]),
    ],
)
def test_wrong_types_and_unknown_fields_are_422_with_every_place(somebody, path, body, code, where):
    """Each finding names its place in the body by a JSON pointer; nothing is guessed and nothing read over."""
    assert pointers(assert_problem(somebody.http.post(path, json=body), 422, code)) == where


def test_state_bodies_are_checked(somebody, order):
    """A state body with fields that are not known, or without data, is refused before access or version matter."""
    path = f"/v1/state/orders/{order}"
    assert_problem(somebody.http.put(path, json={"data": {}, "staus": "paid"}), 422, "INVALID_INPUT")
    assert_problem(somebody.http.put(path, json={}), 422, "INVALID_INPUT")
    assert_problem(somebody.http.post(f"{path}/transitions/pay", json={"dat": {}}), 422, "INVALID_INPUT")
    assert pointers(assert_problem(somebody.http.get("/v1/state/orders?page_size=501"), 422, "INVALID_INPUT")) == ["/page_size"]
    assert pointers(assert_problem(somebody.http.get("/v1/state/orders?page_size=x"), 422, "INVALID_INPUT")) == ["/page_size"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/auth/register"),
        ("POST", "/v1/actions/shop.place_order"),
        ("PUT", "/v1/state/orders/{order}"),
        ("PATCH", "/v1/state/orders/{order}"),
        ("POST", "/v1/state/orders/{order}/transitions/pay"),
    ],
)
def test_deep_nesting_is_refused_as_input(somebody, order, method, path):
    """JSON nested deeper than anything sensible is the caller's mistake, never a fault of the server."""
    deep = b'{"data": ' + b"[" * 8000 + b"]" * 8000 + b"}"
    answer = somebody.http.request(method, path.format(order=order), content=deep, headers=JSON)
    assert answer.status_code in (400, 403, 422), answer.text
    assert answer.json()["code"] in ("MALFORMED_JSON", "INVALID_INPUT", "ACTION_INPUT_INVALID", "PERMISSION_DENIED")


@pytest.mark.parametrize("path", ["/v1/auth/register", "/v1/actions/shop.place_order", "/v1/state/orders/1/transitions/pay"])
def test_oversized_bodies_are_413(somebody, path):
    """More than the limit is refused by its announced length, and as it arrives where none was announced."""
    big = json.dumps({"x": "x" * 1_100_000}).encode()
    assert_problem(somebody.http.post(path, content=big, headers=JSON), 413, "PAYLOAD_TOO_LARGE")
    chunks = (big[at : at + 65_536] for at in range(0, len(big), 65_536))
    assert_problem(somebody.http.post(path, content=chunks, headers=JSON), 413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/auth/login", {"POST"}),
        ("PUT", "/v1/auth/me", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("PUT", "/v1/actions/shop.place_order", {"GET", "HEAD", "POST"}),
        ("GET", "/orders", {"POST"}),
        ("POST", "/v1/state/orders/1", {"GET", "HEAD", "PUT", "PATCH", "DELETE"}),
        ("POST", "/openapi.json", {"GET", "HEAD"}),
    ],
)
def test_wrong_method_is_405_with_allow(somebody, method, path, allow):
    """The answer lists every method that the resource knows."""
    answer = somebody.http.request(method, path)
    assert_problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allow | {"OPTIONS"}


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/actions/shop.place_order", ORDER), ("/v1/auth/logout", {}), ("/v1/state/orders/1/transitions/pay", {})],
)
def test_no_token_is_401(nobody, path, body):
    """Without a token nothing that needs one happens; the answer says which scheme is asked for (RFC 6750)."""
    answer = nobody.post(path, json=body)
    assert_problem(answer, 401, "UNAUTHENTICATED")
    assert answer.headers["www-authenticate"].startswith("Bearer ")
    assert_problem(nobody.get("/v1/auth/me"), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("token", ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "{token}x", "{refresh}"])
def test_bad_tokens_are_401(somebody, nobody, token):
    """A token that is malformed, unsigned, altered or of another kind is refused, and the answer says that the token is why."""
    token = token.format(token=somebody.token, refresh=somebody.refresh_token)
    answer = nobody.get("/v1/auth/me", headers={"authorization": f"Bearer {token}"})
    assert_problem(answer, 401, "TOKEN_INVALID")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_other_schemes_are_401(somebody, nobody):
    """Only bearer tokens are taken."""
    answer = nobody.get("/v1/auth/me", headers={"authorization": f"Basic {somebody.token}"})
    assert_problem(answer, 401, "TOKEN_INVALID")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_wrong_password_and_unknown_account_look_the_same(somebody, nobody):
    """Nobody learns from a login whether an account exists."""
    seen = []
    for email in (somebody.email, "nobody-at-all@example.com"):
        answer = nobody.post("/v1/auth/login", json={"email": email, "password": "not that one"})
        problem = assert_problem(answer, 401, "AUTH_INVALID_CREDENTIALS")
        assert "www-authenticate" in answer.headers
        seen.append(problem | {"request_id": ""})
    assert seen[0] == seen[1]


def test_address_that_is_taken_is_409(somebody, nobody):
    """An address can be registered once, however it is written."""
    body = {"email": somebody.email.upper(), "password": PASSWORD}
    assert_problem(nobody.post("/v1/auth/register", json=body), 409, "AUTH_EMAIL_TAKEN")


def test_missing_permission_is_403_and_named(somebody, order):
    """Who is known and may not is told which permission is missing."""
    problem = assert_problem(somebody.act("shop.ship_order", {"order_id": order}), 403, "PERMISSION_DENIED")
    assert problem["metadata"]["permission"] == "orders:ship"
    assert "orders:ship" in problem["detail"]
    assert_problem(somebody.http.delete(f"/v1/state/orders/{order}"), 403, "PERMISSION_DENIED")
    assert_problem(somebody.http.put(f"/v1/state/orders/{order}", json={"data": {"total": 1}}), 403, "PERMISSION_DENIED")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", f"/v1/state/orders/{UNKNOWN_ID}", "STATE_NOT_FOUND"),
        ("GET", f"/v1/state/orders/{UNKNOWN_ID}/history", "STATE_NOT_FOUND"),
        ("GET", "/v1/state/nowhere/1", "STATE_NAMESPACE_UNKNOWN"),
        ("GET", "/v1/state/nowhere", "STATE_NAMESPACE_UNKNOWN"),
        ("GET", "/v1/actions/shop.nothing", "ACTION_NOT_FOUND"),
        ("POST", "/v1/actions/shop.nothing", "ACTION_NOT_FOUND"),
        ("POST", f"/v1/state/orders/{UNKNOWN_ID}/transitions/pay", "STATE_NOT_FOUND"),
        ("POST", "/v1/state/orders/{order}/transitions/burn", "STATE_EVENT_UNKNOWN"),
    ],
)
def test_unknown_ids_are_404(somebody, order, method, path, code):
    """What does not exist is 404, and its code says what it is that does not exist."""
    assert_problem(somebody.http.request(method, path.format(order=order)), 404, code)


@pytest.mark.parametrize("path", ["/nowhere", "/v1", "/v1/nothing/here", "/v1/auth/nothing", "/problems/%20", "/docs/nothing"])
def test_unknown_routes_are_404_problems(somebody, path):
    """A path that leads nowhere is answered as a problem, never with HTML."""
    assert_problem(somebody.http.get(path), 404, "ROUTE_NOT_FOUND")


def test_other_media_types_are_415(somebody):
    """A body that does not call itself JSON is not read as JSON."""
    for path in ("/v1/actions/shop.place_order", "/orders"):
        answer = somebody.http.post(path, content=b"items=1", headers={"content-type": "application/x-www-form-urlencoded"})
        assert_problem(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize("header", [{"if-match": "1"}, {"if-match": '*, "1"'}, {"if-match": '"one"'}])
def test_headers_that_cannot_be_read_are_400(somebody, order, header):
    """A header that was meant to guard something is never ignored."""
    answer = somebody.http.post(f"/v1/state/orders/{order}/transitions/pay", json={}, headers=header)
    assert_problem(answer, 400, "INVALID_HEADER")


def test_stale_version_is_412(person):
    """If-Match guards a transition: a version that has passed is refused and nothing changes; the ETag given last holds."""
    ada = person()
    order = ada.order()
    read = ada.http.get(f"/v1/state/orders/{order}")
    assert read.headers["etag"] == '"1"'
    paid = ada.http.post(f"/v1/state/orders/{order}/transitions/pay", headers={"if-match": read.headers["etag"]})
    assert (paid.status_code, paid.headers["etag"], paid.json()["version"]) == (200, '"2"', 2)

    stale = ada.http.post(f"/v1/state/orders/{order}/transitions/cancel", headers={"if-match": '"1"'})
    problem = assert_problem(stale, 412, "STATE_VERSION_CONFLICT")
    assert (problem["metadata"]["expected"], problem["metadata"]["actual"]) == ("1", "2")
    unchanged = ada.http.get(f"/v1/state/orders/{order}", headers={"if-none-match": '"2"'})
    assert (unchanged.status_code, unchanged.content) == (304, b"")


def test_request_id_is_in_body_header_and_log(platform, somebody):
    """The client's request id comes back in header and body and stands in the log with status and code."""
    name = "order-of-ada:1"
    answer = somebody.http.get("/v1/state/orders/none", headers={"x-request-id": name})
    assert assert_problem(answer, 404, "STATE_NOT_FOUND")["request_id"] == name

    def logged() -> list[dict]:
        entries = [json.loads(line) for file in platform.log_files() for line in file.read_text().splitlines()]
        return [entry for entry in entries if entry["logger"] == "access" and entry["request_id"] == name]

    assert wait_until(lambda: bool(logged()), timedelta(seconds=30))
    entry = logged()[0]
    assert (entry["status"], entry["code"], entry["method"], entry["subject"]) == (404, "STATE_NOT_FOUND", "GET", somebody.id)


@pytest.mark.parametrize("name", ["a b", "x" * 129, "<script>", ""])
def test_request_id_of_another_form_is_replaced(nobody, name):
    """What could not be logged safely is not taken over."""
    answer = nobody.get("/nowhere", headers={"x-request-id": name})
    assert answer.headers["x-request-id"] != name
    assert assert_problem(answer, 404, "ROUTE_NOT_FOUND")


def test_no_answer_and_no_log_line_holds_a_secret(platform, person):
    """Tokens and passwords never reach a log file."""
    ada = person()
    ada.http.get("/v1/auth/me")
    ada.http.post("/v1/auth/refresh", json={"refresh_token": ada.refresh_token})
    log = "\n".join(file.read_text() for file in platform.project.logs.iterdir())
    assert [secret for secret in (PASSWORD, ada.token, ada.refresh_token) if secret in log] == []


def test_every_problem_has_a_page(somebody, nobody):
    """The type of a problem is a reference that leads to a page about it."""
    problem = somebody.http.get("/v1/state/nowhere/1").json()
    page = nobody.get(problem["type"])
    assert page.status_code == 200
    assert "STATE_NAMESPACE_UNKNOWN" in page.text
