"""The journey, step by step; each step says what it saw and fails when it is not what was promised."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import monotonic

from stylobate.launcher.demo.browser import Answer, Browser
from stylobate.launcher.demo.subscriber import Subscriber

ORDERS_PER_MINUTE = 30
_PERMISSION_DENIED = 103
_REVOKED_WITHIN_S = 1.0


class StepFailedError(Exception):
    """A step did not hold; names it and what was seen."""

    def __init__(self, step: str, seen: str) -> None:
        super().__init__(f"{step}: {seen}")
        self.step = step
        self.seen = seen


class _UnexpectedError(Exception):
    """What was seen in place of what was promised."""


@dataclass(slots=True)
class Acknowledged:
    """What the platform answered with 2xx, to be checked afterwards: nothing of it may be lost."""

    orders: list[str] = field(default_factory=list)
    """Ids of orders placed."""
    events: list[tuple[str, str]] = field(default_factory=list)
    """(order id, event) of transitions made."""
    owner_token: str = field(default="", repr=False)


class Journey:
    """Ada orders and pays, Eve looks where she may not, limits and sessions hold."""

    def __init__(self, gateway: str, realtime: str) -> None:
        self._gateway = gateway
        self._realtime = realtime
        self._stack = AsyncExitStack()
        self._order = ""
        self._is_counted = True
        self.acknowledged = Acknowledged()
        self._ada: Browser
        self._eve: Browser
        self._socket: Subscriber

    async def play(self) -> AsyncIterator[tuple[str, str]]:
        """Play every step; yield (title, what was seen). Raises StepFailedError at the first that does not hold."""
        async with self._stack:
            self._ada = await self._stack.enter_async_context(Browser(self._gateway))
            self._eve = await self._stack.enter_async_context(Browser(self._gateway))
            for title, step in self._steps():
                try:
                    seen = await step()
                except Exception as error:  # an HTTP client has its own family of connection errors
                    said = str(error) if isinstance(error, _UnexpectedError) else f"{type(error).__name__}: {error}"
                    raise StepFailedError(title, said) from error
                yield title, seen

    def _steps(self) -> list[tuple[str, Callable[[], Awaitable[str]]]]:
        return [
            ("register", self._register),
            ("login", self._login),
            ("place an order", self._place),
            ("subscribe to its channel", self._subscribe),
            ("pay", self._pay),
            ("receive the push", self._receive),
            ("refuse an illegal transition", self._pay_again),
            ("refuse another user over HTTP", self._read_as_eve),
            ("refuse another user on the channel", self._listen_as_eve),
            ("show the history", self._history),
            (f"limit order {ORDERS_PER_MINUTE + 1} within a minute", self._limit),
            ("refresh", self._refresh),
            ("logout", self._logout),
            ("refuse the old token", self._refuse_old_token),
        ]

    async def _register(self) -> str:
        names = []
        for browser, name in ((self._ada, "ada"), (self._eve, "eve")):
            email = f"{name}-{secrets.token_hex(6)}@example.com"
            answer = await browser.post("/v1/auth/register", {"email": email, "password": f"{name} likes long passwords"})
            _expect(answer, 201)
            browser.email = email
            names.append(answer.body["user"]["email"])
        return " and ".join(names)

    async def _login(self) -> str:
        for browser, name in ((self._ada, "ada"), (self._eve, "eve")):
            answer = await browser.post("/v1/auth/login", {"email": browser.email, "password": f"{name} likes long passwords"})
            _expect(answer, 200)
            browser.token, browser.refresh_token = answer.body["access_token"], answer.body["refresh_token"]
        self.acknowledged.owner_token = self._ada.token
        return f"access token for {answer.body['expires_in']} s"

    async def _place(self) -> str:
        answer = await self._ada.action(
            "shop.place_order", {"items": [{"sku": "tea", "quantity": 2}, {"sku": "cup", "quantity": 1}]}
        )
        _expect(answer, 200)
        self._is_counted = _is_counted(answer)
        self._order = answer.body["id"]
        self.acknowledged.orders.append(self._order)
        return f"order {self._order}: {answer.body['status']}, {answer.body['total']} cents"

    async def _subscribe(self) -> str:
        self._socket = Subscriber(self._realtime, self._ada.token)
        self._stack.push_async_callback(self._socket.close)
        code = await self._socket.subscribe(f"orders:{self._order}")
        if code:
            raise _UnexpectedError(f"refused with {code}")
        return f"subscribed to orders:{self._order}"

    async def _pay(self) -> str:
        answer = await self._ada.action("shop.pay_order", {"order_id": self._order})
        _expect(answer, 200)
        self.acknowledged.events.append((self._order, "pay"))
        return f"now {answer.body['status']}"

    async def _receive(self) -> str:
        while True:  # the creation may arrive first: the subscription began while its event was on its way
            data = await self._socket.push()
            if data.get("event") == "pay":
                return f"{data['from']} -> {data['to']}, version {data['version']}"

    async def _pay_again(self) -> str:
        answer = await self._ada.action("shop.pay_order", {"order_id": self._order})
        _expect(answer, 409, "STATE_TRANSITION_NOT_ALLOWED")
        detail = str(answer.body["detail"])
        if "cancel" not in detail or "ship" not in detail:
            raise _UnexpectedError(f"the allowed events are not named: {detail}")
        return f"{answer}: {detail}"

    async def _read_as_eve(self) -> str:
        answer = await self._eve.read(f"/v1/state/orders/{self._order}")
        _expect(answer, 404, "STATE_NOT_FOUND")
        return str(answer)

    async def _listen_as_eve(self) -> str:
        socket = Subscriber(self._realtime, self._eve.token)
        self._stack.push_async_callback(socket.close)
        code = await socket.subscribe(f"orders:{self._order}")
        if code != _PERMISSION_DENIED:
            seen = f"expected {_PERMISSION_DENIED}, got {code or 'a subscription'}"
            raise _UnexpectedError(seen)
        return f"error {code}"

    async def _history(self) -> str:
        answer = await self._ada.read(f"/v1/state/orders/{self._order}/history")
        _expect(answer, 200)
        steps = [(entry["version"], entry["change"], entry.get("event") or "") for entry in reversed(answer.body["items"])]
        if steps != [(1, "created", ""), (2, "transitioned", "pay")]:
            raise _UnexpectedError(str(steps))
        return ", ".join(f"v{version} {event or change}" for version, change, event in steps)

    async def _limit(self) -> str:
        for number in range(len(self.acknowledged.orders) + 1, ORDERS_PER_MINUTE + 2):
            answer = await self._ada.action("shop.place_order", {"items": [{"sku": "tea", "quantity": 1}]})
            self._is_counted &= _is_counted(answer)
            if not self._is_counted and answer.status in (200, 429):
                return "not judged: the limiter is degraded"
            if number <= ORDERS_PER_MINUTE:
                _expect(answer, 200)
                self.acknowledged.orders.append(answer.body["id"])
        _expect(answer, 429, "RATE_LIMITED")
        return f"{answer}, Retry-After {answer.headers['retry-after']} s"

    async def _refresh(self) -> str:
        answer = await self._ada.post("/v1/auth/refresh", {"refresh_token": self._ada.refresh_token})
        _expect(answer, 200)
        self._ada.token, self._ada.refresh_token = answer.body["access_token"], answer.body["refresh_token"]
        me = await self._ada.read("/v1/auth/me")
        _expect(me, 200)
        return "new tokens, they work"

    async def _logout(self) -> str:
        answer = await self._ada.post("/v1/auth/logout")
        _expect(answer, 204)
        return str(answer)

    async def _refuse_old_token(self) -> str:
        began = monotonic()
        while True:
            answer = await self._ada.read("/v1/auth/me")
            waited = monotonic() - began
            if answer.status == 401:  # noqa: PLR2004  HTTP
                return f"{answer} after {waited * 1000:.0f} ms"
            if waited > _REVOKED_WITHIN_S:
                raise _UnexpectedError(f"still {answer} after {waited:.1f} s")
            await asyncio.sleep(0.02)


def _is_counted(answer: Answer) -> bool:
    """Return whether the action's own limit was charged: a degraded limiter promises nothing, so no header speaks of it."""
    return '"shop.place_order"' in answer.headers.get("ratelimit", "")


def _expect(answer: Answer, status: int, code: str = "") -> None:
    if answer.status != status or answer.code != code:
        raise _UnexpectedError(f"expected {status} {code}".rstrip() + f", got {answer}: {answer.body}")
