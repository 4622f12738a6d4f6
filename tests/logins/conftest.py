"""People who log in from addresses of their own: the platform believes what this machine says of them."""

import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import quantiles
from time import perf_counter
from typing import Any

import httpx
import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.ports import free_ports

PASSWORD = "a long enough password"
TRUSTED = {"STYLOBATE_GATEWAY_TRUSTED_PROXIES": "127.0.0.1/32"}

RULES = {
    "STYLOBATE_AUTH_LOGIN_IP": "40/hour",
    "STYLOBATE_AUTH_LOGIN_ACCOUNT": "7/hour",
    "STYLOBATE_AUTH_REGISTER_IP": "8/hour",
    "STYLOBATE_AUTH_REFRESH_IP": "9/hour",
}


def mail_to(port: int) -> dict[str, str]:
    """Return settings for a mail server on this machine."""
    return {
        "STYLOBATE_AUTH_SMTP_HOST": "127.0.0.1",
        "STYLOBATE_AUTH_SMTP_PORT": str(port),
        "STYLOBATE_AUTH_SMTP_SECURITY": "none",
        "STYLOBATE_AUTH_MAIL_FROM": "Shop <no-reply@shop.example>",
        "STYLOBATE_AUTH_MAIL_TIMEOUT": "2s",
    }


@pytest.fixture(scope="package")
def mail_port() -> int:
    """Return the port where the platform looks for a mail server: what stands there is up to each test."""
    return free_ports(1)


@pytest.fixture(
    scope="package",
    params=[pytest.param(("--workers", "2"), marks=pytest.mark.soak), ("--split", "--workers", "2")],
    ids=["two workers", "split, two each"],
)
def platform(request: Any, tmp_path_factory: pytest.TempPathFactory, mail_port: int) -> Iterator[Platform]:
    """Give a platform with several processes of auth."""
    folder = tmp_path_factory.mktemp("logins")
    with Platform.run(folder, *request.param, environ=TRUSTED | RULES | mail_to(mail_port)) as running:
        yield running


@dataclass
class Visitor:
    """Somebody at an address."""

    http: httpx.AsyncClient
    address: str
    email: str = field(default_factory=lambda: f"someone-{secrets.token_hex(6)}@example.com")

    async def ask(self, path: str, token: str = "", /, **body: Any) -> httpx.Response:
        """Call a route of accounts, with an access token where one is given."""
        headers = {"x-forwarded-for": self.address} | ({"authorization": f"Bearer {token}"} if token else {})
        return await self.http.post(f"/v1/auth/{path}", json=body, headers=headers)

    async def register(self) -> None:
        """Make an account."""
        answer = await self.ask("register", email=self.email, password=PASSWORD)
        assert answer.status_code == 201, answer.text

    async def login(self, password: str = PASSWORD) -> str:
        """Log in; return the code of the problem, or "in"."""
        answer = await self.ask("login", email=self.email, password=password)
        if answer.status_code in (429, 503):
            assert int(answer.headers["retry-after"]) >= 1
        return "in" if answer.status_code == 200 else answer.json()["code"]


@dataclass
class Tally:
    """How logins ended, and how long those took that ended well."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    async def login(self, visitor: Visitor, password: str = PASSWORD) -> str:
        """Log in and note it."""
        began = perf_counter()
        end = await visitor.login(password)
        self.ends[end] += 1
        if end == "in":
            self.seconds.append(perf_counter() - began)
        return end

    def __str__(self) -> str:
        """Return a line of figures."""
        cuts = quantiles(self.seconds, n=100) if len(self.seconds) > 1 else [0.0] * 99
        return f"{dict(self.ends)}, p50 {cuts[49] * 1000:.0f} ms, p99 {cuts[98] * 1000:.0f} ms"
