"""Honest clients beside an attack: what they asked, how long it took."""

import asyncio
from dataclasses import dataclass, field
from time import perf_counter

import httpx
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

_TIMEOUT_S = 30.0
_PACE_S = 0.1
_TRIES = 3
_ORDER = "shop.place_order"
"""Has a limit of its own, which an honest client in haste reaches."""


@dataclass
class Answers:
    """How long answers took, in seconds, and what was no good answer."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    refused: int = 0
    """Answers 503 that the client was told to try again after."""

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, expected: int) -> None:
        """Send a request on a connection that is kept."""
        began = perf_counter()
        for _ in range(_TRIES):
            try:
                answer = await client.request(method, path, json={} if method == "POST" else None)
            except httpx.HTTPError as error:
                self.failures.append(f"{method} {path}: {type(error).__name__}")
                return
            status = answer.status_code
            if status != httpx.codes.SERVICE_UNAVAILABLE or "retry-after" not in answer.headers:
                break
            self.refused += 1
            await asyncio.sleep(float(answer.headers["retry-after"]))
        self.seconds.append(perf_counter() - began)
        is_its_own_limit = status == httpx.codes.TOO_MANY_REQUESTS and _ORDER in answer.headers.get("ratelimit-policy", "")
        if status != expected and not is_its_own_limit:
            self.failures.append(f"{method} {path}: {status}")

    def at(self, share: float) -> float:
        """Return the quantile in milliseconds."""
        found = sorted(self.seconds)
        return found[min(len(found) - 1, int(len(found) * share))] * 1000


async def honest_client(platform: Platform, number: int, token: str, answers: Answers) -> None:
    """Ask for state, actions and the catalogue forever, from an address of one's own."""
    transport = httpx.AsyncHTTPTransport(local_address=f"127.0.1.{number + 1}", verify=NO_TLS)
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=platform.gateway, transport=transport, headers=headers, timeout=_TIMEOUT_S) as client:
        while True:
            for method, path, expected in (
                ("GET", "/v1/auth/me", 200),
                ("GET", "/v1/state/orders/nobody-has-it", 404),
                ("POST", f"/v1/actions/{_ORDER}", 422),
            ):
                await answers.ask(client, method, path, expected)
                await asyncio.sleep(_PACE_S)


async def operator(platform: Platform, answers: Answers) -> None:
    """Ask the admin port forever, each time on a connection of its own, as probes do."""
    while True:
        async with httpx.AsyncClient(base_url=platform.endpoints["admin"], timeout=_TIMEOUT_S, verify=NO_TLS) as client:
            await answers.ask(client, "GET", "/healthz", 200)
        await asyncio.sleep(_PACE_S)
