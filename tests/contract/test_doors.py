"""Every operation of the document is held to the same refusals, so a new route is covered by itself; none changes anything."""

import http.client
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform, wait_until

from tests.people import PASSWORD, Person

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
VALUES = {"namespace": "box", "key": "door", "event": "close", "level": "user"}
"""Of parameters of paths; others are ``door``. In this namespace whoever has an account may do everything."""
CLOSED = "kept"
"""A namespace in which nobody may do anything over HTTP."""
HELD = {"orders:create"}
"""Permissions of every user."""
JSON = {"content-type": "application/json"}
WITHIN = timedelta(seconds=60)


@dataclass(frozen=True)
class Door:
    """One operation of the document."""

    method: str
    path: str
    """With values in the place of parameters."""
    template: str
    operation: dict[str, Any]

    def __str__(self) -> str:
        """Return how it stands in the document."""
        return f"{self.method} {self.template}"

    @property
    def kinds(self) -> list[str]:
        """The types of bodies that it takes; none: it takes none."""
        return list(self.operation.get("requestBody", {}).get("content", ()))

    @property
    def is_page(self) -> bool:
        """Whether it is for people, or for whatever follows a link: queries are passed over."""
        return self.operation["tags"] == ["standards"]

    @property
    def is_endless(self) -> bool:
        """Whether its answer goes on until somebody ends it."""
        return "x-stylobate-stream" in self.operation

    @property
    def needs_token(self) -> bool:
        """Whether nobody gets in without one; of objects the namespace decides, and the one used here does."""
        anybody = self.operation.get("security", ())
        return anybody != [] and not (self.operation["tags"] == ["limits"] and {} in anybody)

    @property
    def looks_at_tokens(self) -> bool:
        """Whether a wrong token matters: with a stale one everybody must be able to log in."""
        return self.needs_token or self.operation["tags"][0] not in {"accounts", "standards"}


@dataclass
class Doors:
    """All operations, and what is asked at them."""

    platform: Platform
    http: httpx.Client
    user: dict[str, str]
    """The header of somebody with an account and no further rights."""
    admin: dict[str, str]
    """That of somebody who may do everything: what is refused is the form."""
    doors: list[Door]
    access: dict[str, str]
    """Of actions, by the operation's id."""

    def hold(self, doors: list[Door], ask: Callable[[Door], httpx.Response], status: int, *codes: str) -> None:
        """Ask at each door and hold the answer against RFC 9457 and against what the document says."""
        assert doors
        wrong = []
        for door in doors:
            answer = ask(door)
            found = answer.json() if answer.headers.get("content-type") == "application/problem+json" else {}
            is_right = (answer.status_code, found.get("status")) == (status, status) and found["code"] in codes
            is_told = found.get("request_id") == answer.headers["x-request-id"] and str(status) in door.operation["responses"]
            if not (is_right and is_told):
                wrong.append(f"{door}: {answer.status_code} {answer.text[:300]}")
        assert not wrong, "\n".join([f"not {status} {' or '.join(codes)}, or not in the document:", *wrong])

    def ask(self, door: Door, path: str = "", **request: Any) -> httpx.Response:
        """Send a request with a body that is JSON, if the operation takes one, and nothing else."""
        headers = ({"content-type": door.kinds[0]} if door.kinds else {}) | request.pop("headers", {})
        content = request.pop("content", b"{}" if door.kinds else b"")
        return self.http.request(door.method, path or door.path, headers=headers, content=content, **request)

    def announce(self, door: Door, size: int) -> httpx.Response:
        """Send the head of a request with so long a body, and nothing of that: it is answered by the announcement."""
        connection = http.client.HTTPConnection(urlsplit(self.platform.gateway).netloc, timeout=60)
        try:
            connection.putrequest(door.method, door.path)
            for name, value in (self.admin | JSON | {"content-length": str(size)}).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())
        finally:
            connection.close()

    def changes(self) -> dict[str, float]:
        """Return how many events each service has written so far, one for each change of anything."""
        shown = httpx.get(f"{self.platform.endpoints['admin']}/metrics", verify=NO_TLS, timeout=60).text
        ours = "\n".join(line for line in shown.splitlines() if line.startswith("stylobate_outbox_events_numbered_total{"))
        samples = [one for family in text_string_to_metric_families(f"{ours}\n") for one in family.samples]
        return {one.labels["source"]: one.value for one in samples}

    def change(self) -> dict[str, float]:
        """Change something of auth and of state, and return how many events there are when both have written theirs."""
        before = self.changes()
        with Person(self.platform.gateway) as person:
            made = person.http.post("/v1/auth/register", json={"email": person.email, "password": PASSWORD})
            assert made.status_code == 201, made.text
        assert self.http.put("/v1/state/box/sentinel", json={"data": {}}, headers=self.admin).status_code == 200
        found: dict[str, float] = {}

        def are_both_written() -> bool:
            found.update(self.changes())
            return all(found.get(name, 0) > before.get(name, 0) for name in ("auth", "state"))

        assert wait_until(are_both_written, WITHIN)
        return found


def door(template: str, method: str, operation: dict[str, Any]) -> Door:
    """Return the door with values for the parameters of its path."""
    path = template
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(VALUES.get(parameter["name"], "door")))
    return Door(method.upper(), path, template, operation)


@pytest.fixture(scope="module")
def every(platform: Platform, tokens: dict[str, str]) -> Iterator[Doors]:
    """Give every door."""
    with httpx.Client(base_url=platform.gateway, timeout=60, verify=NO_TLS) as client:
        paths = client.get("/openapi.json").json()["paths"]
        # clients of OAuth prove themselves by a form and are refused as RFC 6749 says: tests/placement/test_oauth.py
        told = [(path, method, one) for path, item in paths.items() for method, one in item.items() if one["tags"] != ["oauth"]]
        found = [door(*one) for one in told]
        access = {one["name"]: one["access"] for one in client.get("/v1/actions?page_size=500").json()["items"]}
        access |= {f"{name}.route": rule for name, rule in access.items()}
        yield Doors(platform, client, *({"authorization": f"Bearer {tokens[who]}"} for who in ("user", "admin")), found, access)


@pytest.fixture(scope="module")
def counted(every: Doors) -> list[dict[str, float]]:
    """Give how many events there were behind each test so far, and before the first."""
    return [every.change()]


@pytest.fixture(autouse=True)
def nothing_changes(every: Doors, counted: list[dict[str, float]]) -> Iterator[None]:
    """Prove that a test has changed nothing: behind it a change of each service is the next event there is."""
    yield
    before, after = counted[-1], every.change()
    counted.append(after)
    changed = {name: after[name] - before.get(name, 0) for name in after}
    assert {name: count for name, count in changed.items() if count} == {"auth": 1, "state": 1}


def test_without_a_token(every: Doors) -> None:
    """Whoever may not ask at all is told so, whatever the request looks like."""
    needing = [one for one in every.doors if one.needs_token]
    every.hold(needing, every.ask, 401, "UNAUTHENTICATED")
    every.hold(needing, lambda one: every.ask(one, content=b"{", params={"nonsense": "1"}), 401, "UNAUTHENTICATED")


def test_with_a_wrong_token(every: Doors) -> None:
    """A credential that does not hold is never taken for none at all."""
    looking = [one for one in every.doors if one.looks_at_tokens]
    for wrong in ("Bearer nonsense", "Bearer", "Basic YTpi", f"Bearer {every.user['authorization'][7:-4]}AAAA"):
        every.hold(looking, lambda one, wrong=wrong: every.ask(one, headers={"authorization": wrong}), 401, "TOKEN_INVALID")


def test_without_the_right(every: Doors) -> None:
    """A token is not a permission."""
    actions = [one for one in every.doors if every.access.get(one.operation["operationId"], "") not in {"", *HELD, "public"}]
    missing = [one for one in actions if every.access[one.operation["operationId"]] != "authenticated"]
    every.hold(missing, lambda one: every.ask(one, headers=every.user), 403, "PERMISSION_DENIED")
    # a namespace with indexes has its list at a path of its own, which is the same door
    objects = [one for one in every.doors if one.operation["tags"] == ["state"] and "{namespace}" in one.template]

    def ask(one: Door) -> httpx.Response:
        body = {"content": b'{"data": {}}'} if one.method == "PUT" else {}
        if one.path.endswith("/restore"):
            body = {"content": b'{"version": 1}'}
        if one.template.endswith("/owner"):
            body = {"content": b'{"owner": "eve"}'}
        if one.path == "/v1/state/transactions":
            body = {"content": b'{"operations": [{"op": "put", "namespace": "kept", "key": "door", "data": {}}]}'}
        return every.ask(one, one.path.replace(VALUES["namespace"], CLOSED, 1), headers=every.user, **body)

    every.hold([one for one in objects if "{event}" not in one.template], ask, 403, "PERMISSION_DENIED")
    every.hold([one for one in objects if "{event}" in one.template], ask, 404, "STATE_EVENT_UNKNOWN")


def test_a_body_that_is_not_json(every: Doors) -> None:
    """It is refused as such, and never reaches what it was for."""
    taking = [one for one in every.doors if one.kinds]
    for body in (b"{", b'{"a": "\xff"}', b"{'a': 1}"):
        every.hold(taking, lambda one, body=body: every.ask(one, headers=every.admin, content=body), 400, "MALFORMED_JSON")


def test_a_body_that_is_too_large(every: Doors) -> None:
    """What is announced is refused before anything of it is read, also where no body is taken."""
    every.hold(every.doors, lambda one: every.announce(one, 2 * 1024 * 1024), 413, "PAYLOAD_TOO_LARGE")


def test_a_body_of_another_type(every: Doors) -> None:
    """A body must say that it is JSON, and must be sent as it is."""
    taking = [one for one in every.doors if one.kinds]
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        headers = every.admin | {"content-type": kind}
        every.hold(taking, lambda one, headers=headers: every.ask(one, headers=headers), 415, "UNSUPPORTED_MEDIA_TYPE")
    coded = every.admin | {"content-encoding": "gzip"}
    every.hold(taking, lambda one: every.ask(one, headers=coded), 415, "CONTENT_CODING_UNSUPPORTED")


def test_another_method(every: Doors) -> None:
    """A resource names the methods that it knows."""
    known: dict[str, set[str]] = {}
    for one in every.doors:
        known.setdefault(one.path, set()).add(one.method)
    optional: dict[str, set[str]] = {}
    for path, methods in known.items():
        told = every.http.request("OPTIONS", path)
        optional[path] = set(told.headers["allow"].split(", "))
        assert (told.status_code, told.content, optional[path] - {"HEAD", "OPTIONS"}) == (204, b"", methods), path
        assert "content-length" not in told.headers
    for method in (*METHODS, "PURGE"):
        others = {
            one.path: Door(method, one.path, one.template, one.operation | {"requestBody": {}})
            for one in every.doors
            if method not in known[one.path]
        }

        def ask(one: Door) -> httpx.Response:
            answer = every.ask(one, headers=every.admin)
            assert set(answer.headers["allow"].split(", ")) == optional[one.path], str(one)
            return answer

        every.hold(list(others.values()), ask, 405, "METHOD_NOT_ALLOWED")


def test_a_head_is_that_of_a_get(every: Doors) -> None:
    """Where there is GET there is HEAD, with the same status and header fields and no body."""
    # how an answer without a length is framed need not be said where there is no body (RFC 9110 §9.3.2)
    apart = {"x-request-id", "date", "ratelimit", "server-timing", "transfer-encoding"}
    for one in every.doors:
        if one.method == "GET" and not one.is_endless:
            got, headed = (every.http.request(method, one.path, headers=every.admin) for method in ("GET", "HEAD"))
            assert headed.status_code == got.status_code, str(one)
            of_get, of_head = ({name: value for name, value in a.headers.items() if name not in apart} for a in (got, headed))
            assert of_get.pop("content-length", "0") == of_head.pop("content-length", "0") or "request_id" in got.text, str(one)
            assert of_head == of_get, str(one)
            assert headed.content == b""


def test_every_answer_is_what_its_type_says(every: Doors) -> None:
    """No browser takes one for something else, and none that tells of an account is kept by anybody."""
    for one in every.doors:
        answer = every.ask(one, params={"nonsense": "1"})
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], str(one)
    assert every.http.get("/v1/auth/me", headers=every.admin).headers["cache-control"] == "no-store"


def test_a_query_nobody_knows(every: Doors) -> None:
    """A parameter that would be passed over is refused, and named."""
    strict = [one for one in every.doors if not one.is_page]

    def ask(one: Door) -> httpx.Response:
        answer = every.ask(one, headers=every.admin, params={"nonsense": "1"})
        assert "/nonsense" in [entry["pointer"] for entry in answer.json().get("errors", ())], f"{one}: {answer.text}"
        return answer

    every.hold(strict, ask, 422, "INVALID_INPUT", "ACTION_INPUT_INVALID")


def test_a_key_that_cannot_be_read(every: Doors) -> None:
    """A change whose Idempotency-Key has another form is refused; without a token, that comes first."""
    changing = [one for one in every.doors if one.method != "GET"]
    headers = every.admin | {"idempotency-key": "a, b"}
    every.hold(changing, lambda one: every.ask(one, headers=headers), 400, "INVALID_HEADER")
    closed = [one for one in changing if one.needs_token]
    every.hold(closed, lambda one: every.ask(one, headers={"idempotency-key": "a, b"}), 401, "UNAUTHENTICATED")
