"""One person's HTTP client: a read that meets a 503 is tried again as the server asks, a mutation never."""

import asyncio
import ssl
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

_READ_TRIES = 10
_LONGEST_WAIT_S = 5.0
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: the list of authorities takes longer to read than most of the demo's steps."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    body: Any
    headers: httpx.Headers = field(repr=False)

    @property
    def code(self) -> str:
        """The problem's code (RFC 9457), or empty."""
        return str(self.body.get("code", "")) if isinstance(self.body, dict) else ""

    def __str__(self) -> str:
        """Return ``status CODE``, as the demo shows it."""
        return f"{self.status} {self.code}".rstrip()


class Browser:
    """Calls the gateway in one person's name once they have logged in."""

    def __init__(self, gateway: str) -> None:
        verify = ssl.create_default_context() if gateway.startswith("https:") else _NO_TLS  # whom the system trusts
        self._client = httpx.AsyncClient(base_url=gateway, timeout=15, trust_env=False, verify=verify)
        self.token = ""
        self.refresh_token = ""
        self.email = ""

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def read(self, path: str, *, token: str | None = None) -> Answer:
        """GET, patiently."""
        for _ in range(_READ_TRIES):
            answer = await self._send("GET", path, None, self.token if token is None else token)
            if answer.status != httpx.codes.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(min(float(answer.headers.get("retry-after", "1")), _LONGEST_WAIT_S))
        return answer

    async def post(self, path: str, body: Any = None) -> Answer:
        """POST, once."""
        return await self._send("POST", path, {} if body is None else body, self.token)

    async def action(self, name: str, body: Any) -> Answer:
        """Call an action."""
        return await self.post(f"/v1/actions/{name}", body)

    async def _send(self, method: str, path: str, body: Any, token: str) -> Answer:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        response = await self._client.request(method, path, json=body, headers=headers)
        is_json = "json" in response.headers.get("content-type", "")
        return Answer(response.status_code, response.json() if is_json else response.text, response.headers)
