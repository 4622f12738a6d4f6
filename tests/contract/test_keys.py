"""Every operation that changes something, sent twice with one Idempotency-Key: one change, one answer."""

import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.people import PASSWORD, Person

EMAIL = f"keys-{secrets.token_hex(6)}@example.com"
ACCOUNT = {"email": EMAIL, "password": PASSWORD}
GRANT = {"subject": "role:staff", "permission": "orders:read", "resource": "state/box/keys"}
ORDER = {"items": [{"sku": "tea", "quantity": 1}]}
OTHER_PASSWORD = "another long enough password"
AGAIN_UNAUTHENTICATED = {"logout", "delete_me"}
"""Sent again it is 401, for the session that asks is over: which is what was asked."""
ONCE = {"create_api_key", "rotate_api_key"}
"""Sent again they answer without the secret, which is kept nowhere."""
BY_MAIL = {"verify_email": "Confirm your address for Stylobate", "reset_password": "Choose a new password for Stylobate"}
"""Operations that take the token of a mail, and its subject."""


class Sender:
    """Sends operations with values that make them succeed, in an order in which they can."""

    def __init__(self, platform: Platform, http: httpx.Client, operations: dict[str, tuple[str, str, dict[str, Any]]]) -> None:
        self.platform = platform
        self.http = http
        self.operations = operations
        self.order = ""
        self.made = ""
        """The id of the service account or API key that was made last."""
        self.mailed = ""
        """The token of a mail."""
        self.session = ""
        """The id of a session that is not the sender's own."""
        self.tokens: dict[str, str] = {}
        self.person = ""
        """The id of somebody else's account."""

    def send(self, name: str, key: str) -> httpx.Response:
        """Send the operation."""
        method, path, operation = self.operations[name]
        at = {
            "namespace": "box",
            "key": "keys",
            "event": "close",
            "name": "staff" if "/users/" in path else "keys",
            "order_id": self.order,
            "session_id": self.session,
        }
        at |= {"level": "user", "id": self.made if "{id}" in path and "{level}" not in path else "nobody-at-all"}
        at |= {"id": self.person or self.made} if path.startswith("/v1/users/") else {}
        kinds = list(operation.get("requestBody", {}).get("content", ()))
        headers = {"idempotency-key": key} | ({"content-type": kinds[0]} if kinds else {})
        content = orjson.dumps(self.body(name)) if kinds else b""
        query = {"rule": "edge.user", "id": "nobody-at-all"} if "/usage" in path else GRANT if name == "delete_grant" else None
        return self.http.request(method, path.format(**at), params=query, content=content, headers=headers)

    def body(self, name: str) -> Any:
        """Return a body that the operation takes."""
        things = {"things": [{"label": "tea"}]}
        bodies: dict[str, Any] = {
            "register": ACCOUNT,
            "login": ACCOUNT,
            "refresh": {"refresh_token": self.tokens.get("refresh_token")},
            "update_me": {"display_name": "Keys"},
            "verify_email": {"token": self.mailed},
            "change_email": {"email": f"moved-{EMAIL}", "password": PASSWORD},
            "change_password": {"current_password": PASSWORD, "new_password": OTHER_PASSWORD},
            "forgot_password": {"email": EMAIL},
            "delete_me": {"password": PASSWORD},
            "reset_password": {"token": self.mailed, "new_password": PASSWORD},
            "create_service_account": {"name": "import", "roles": ["user"]},
            "put_grant": GRANT,
            "put_role": {"permissions": ["orders:read"]},
            "create_api_key": {"name": "nightly", "scopes": ["box:read"]},
            "rotate_api_key": {"overlap_seconds": 0},
            "update_api_key": {"rate_limit": "9/day"},
            "put_object": {"data": {}},
            "put_ban": {"reason": "a test"},
            "patch_object": {"a": 1},
            "restore_object": {"version": 1},
            "assign_object": {"owner": "eve"},
            "change_objects": {"operations": [{"op": "put", "namespace": "box", "key": "together", "data": {}}]},
            "box.find": {"colour": "red"},
            "box.fill": {"name": "keys"} | things,
            "box.fill.route": things,
            "shop.place_order": ORDER,
            "shop.place_order.route": ORDER,
        }
        if name.startswith("shop.replace"):
            return ORDER if name.endswith(".route") else {"order_id": self.order} | ORDER
        if name.startswith("shop."):
            return bodies.get(name, {"order_id": self.order})
        return bodies.get(name, {"name": "keys"} if name.startswith("box.") else {})

    def prepare(self, name: str) -> None:
        """Bring about what an operation takes: the token of a mail, another session."""
        if name in BY_MAIL:
            assert wait_until(lambda: bool(self._mails(BY_MAIL[name])), timedelta(seconds=30))
            self.mailed = re.findall(r"(?m)^[A-Za-z0-9_-]{43}$", self._mails(BY_MAIL[name])[-1])[0]

        if name == "disable_user":
            with Person(self.platform.gateway, "somebody") as somebody:
                self.person = somebody.register().id
        if name == "revoke_session":
            other = {"email": EMAIL, "password": OTHER_PASSWORD}
            assert self.http.post("/v1/auth/login", json=other, headers={"authorization": ""}).status_code == 200
            sessions = self.http.get("/v1/auth/sessions").json()["items"]
            (self.session,) = [session["id"] for session in sessions if not session["current"]]

    def _mails(self, subject: str) -> list[str]:
        shown = self.platform.command("mail", "-n", "200").stdout
        return [
            mail for mail in re.split(r"(?m)^(?=Date: )", shown) if f"To: {EMAIL}\n" in mail and f"Subject: {subject}" in mail
        ]


@pytest.fixture(scope="module")
def administrator(platform: Platform) -> Iterator[str]:
    """Give the token of an administrator of this file's own: what others order counts on their limits."""
    with Person(platform.gateway, "keeper") as keeper:
        made = platform.command("users", "create", keeper.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stdout + made.stderr
        yield keeper.login().token


@pytest.fixture(scope="module")
def sender(platform: Platform, administrator: str) -> Iterator[Sender]:
    """Give the sender, an administrator at first."""
    with httpx.Client(base_url=platform.gateway, timeout=60, verify=NO_TLS) as http:
        paths = http.get("/openapi.json").json()["paths"]
        found = {
            operation["operationId"]: (method.upper(), path, operation)
            for path, item in paths.items()
            for method, operation in item.items()
            if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
        }
        http.headers["authorization"] = f"Bearer {administrator}"
        yield Sender(platform, http, found)


def test_each_operation_happens_once(sender: Sender) -> None:
    """The second answer is the first, with status, ETag and body, and says so."""
    states = [f"{verb}_object" for verb in ("put", "patch", "transition", "restore", "assign", "delete")]
    states.insert(0, "change_objects")
    orders = [f"shop.{verb}_order{way}" for way in ("", ".route") for verb in ("place", "pay", "ship")]
    for way in ("", ".route"):
        orders += [f"shop.{verb}_order{way}" for verb in ("place", "cancel", "place", "replace")]
    bans = ["put_ban", "delete_ban", "reset_usage"]
    machines = [
        "create_service_account",
        "assign_role",
        "remove_role",
        "put_role",
        "delete_role",
        "put_grant",
        "delete_grant",
        "delete_service_account",
        "create_api_key",
        "rotate_api_key",
        "update_api_key",
        "revoke_api_key",
    ]
    people = ["disable_user", "enable_user", "revoke_user_sessions", "delete_user"]
    accounts = ["register", "login", "refresh", "update_me", "request_email_verification", "verify_email", "change_email"]
    accounts += ["change_password", "revoke_session", "revoke_other_sessions", "logout", "forgot_password", "reset_password"]
    accounts += ["login", "delete_me"]
    boxes = ["box.find", "box.fill", "box.read", "box.drop", "box.fill.route", "box.drop.route"]
    elsewhere = {"create_first_admin"}  # of a platform without an administrator: libs/common/tests/launcher/test_detached.py
    assert {*states, *orders, *boxes, *bans, *machines, *people, *accounts, *elsewhere} == sender.operations.keys(), (
        "an operation that is not sent here"
    )
    for name in (*states, *boxes, *orders, *bans, *machines, *people, *accounts):
        sender.prepare(name)
        key = secrets.token_hex(8)
        first, again = sender.send(name, key), sender.send(name, key)
        assert first.is_success, f"{name}: {first.text}"
        assert "idempotency-replayed" not in first.headers, name
        if name in AGAIN_UNAUTHENTICATED:
            assert again.status_code == 401, again.text
            del sender.http.headers["authorization"]
            continue
        told = [
            (one.status_code, one.headers.get("etag"), one.headers.get("content-type"), one.content) for one in (first, again)
        ]
        if name in ONCE:
            assert first.json()["key"].startswith("stylo_"), name
            assert again.json() == first.json() | {"key": None}, name
        else:
            assert told[0] == told[1], name
        assert again.headers["idempotency-replayed"] == "true", name
        if name.startswith("shop.place"):
            sender.order = first.json()["id"]
        if name in {"create_service_account", "create_api_key", "rotate_api_key"}:
            sender.made = first.json()["id"]
        if name in {"login", "refresh"}:
            sender.tokens = first.json()
            sender.http.headers["authorization"] = f"Bearer {sender.tokens['access_token']}"
    again = sender.http.post("/v1/auth/register", json=ACCOUNT)
    assert again.status_code == 201, "the address of an account that was deleted is free"


def test_another_body_is_refused(sender: Sender, administrator: str) -> None:
    """Whatever the operation, its answer is not given to another request."""
    sender.http.headers["authorization"] = f"Bearer {administrator}"
    key = {"idempotency-key": secrets.token_hex(8)}
    for method, path, bodies in (
        ("PUT", "/v1/state/box/other", ({"data": {"a": 1}}, {"data": {"a": 2}})),
        ("POST", "/orders", (ORDER, {"items": [{"sku": "tea", "quantity": 2}]})),
        ("POST", "/v1/auth/login", (ACCOUNT, ACCOUNT | {"password": "another long password"})),
    ):
        first, other = (sender.http.request(method, path, json=body, headers=key) for body in bodies)
        assert first.status_code == 200, first.text
        assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED"), other.text
