"""Somebody with an account, as the tests of a running platform meet them."""

import secrets
from types import TracebackType
from typing import Any, Self

import httpx
from stylobate.testing.plain_http import NO_TLS

PASSWORD = "a long enough password"


class Person:
    """An HTTP client of the gateway, with the person's token once they have one."""

    def __init__(self, gateway: str, name: str = "ada") -> None:
        self.email = f"{name}-{secrets.token_hex(6)}@example.com"
        self.id = ""
        self.refresh_token = ""
        self.http = httpx.Client(base_url=gateway, timeout=60, verify=NO_TLS)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        self.http.close()

    @property
    def token(self) -> str:
        """The access token, or empty."""
        return self.http.headers.get("authorization", "").removeprefix("Bearer ")

    def register(self) -> Self:
        """Make the account and log in."""
        answer = self.http.post("/v1/auth/register", json={"email": self.email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return self.login()

    def login(self) -> Self:
        """Open a session; later requests carry its token."""
        answer = self.http.post("/v1/auth/login", json={"email": self.email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.id = answer.json()["user"]["id"]
        self.refresh_token = answer.json()["refresh_token"]
        self.http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        return self

    def act(self, action: str, body: Any = None) -> httpx.Response:
        """Call an action."""
        return self.http.post(f"/v1/actions/{action}", json={} if body is None else body)

    def order(self) -> str:
        """Place an order and return its id."""
        answer = self.act("shop.place_order", {"items": [{"sku": "tea", "quantity": 1}]})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])


def logged_out(gateway: str) -> httpx.Client:
    """Return a client of nobody known."""
    return httpx.Client(base_url=gateway, timeout=60, verify=NO_TLS)
