"""Customers who go on ordering and paying while things break, and remember what they were told."""

import asyncio
import threading
from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx
from stylobate.launcher.demo import Journey, StepFailedError
from stylobate.testing.platform import Platform

from tests.people import Person

UNHELD = {f"STYLOBATE_AUTH_{name}_IP": "6000/minute burst 6000" for name in ("LOGIN", "REGISTER")}
"""All come from one address here, and who was refused comes again at once."""
_ORDERS_EACH = 12
_PAUSE_S = 0.05
"""Between two orders of a customer, two steps of a journey: load, not a flood."""


@dataclass
class Acknowledged:
    """What was answered with 2xx."""

    events: set[tuple[str, str]] = field(default_factory=set)
    """(order, event) of creations (empty event) and transitions."""
    failures: Counter[str] = field(default_factory=Counter)
    """What else was answered, by code or kind of error; to look at, not to judge."""
    steps: int = 0
    """How many steps of journeys held; to look at as well."""

    def __len__(self) -> int:
        """Return how much was acknowledged so far."""
        return len(self.events)


class Traffic:
    """Runs customers in threads until the block is left."""

    def __init__(self, platform: Platform, customers: int = 2) -> None:
        self.acknowledged = Acknowledged()
        self._gateway, self._realtime = platform.gateway, platform.realtime
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._shop) for _ in range(customers)]
        self._threads.append(threading.Thread(target=self._play))

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let everyone finish what they are at."""
        self.stop()

    def stop(self) -> None:
        """Do that before the block is left."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _shop(self) -> None:
        """Be one new customer after the other: each orders and pays a few times, and gives up at a failure."""
        while not self._is_over.wait(_PAUSE_S):
            try:
                with Person(self._gateway) as customer:
                    customer.register()
                    for _ in range(_ORDERS_EACH):
                        order = customer.order()
                        self.acknowledged.events.add((order, ""))
                        paid = customer.act("shop.pay_order", {"order_id": order})
                        assert paid.status_code == 200, paid.text
                        self.acknowledged.events.add((order, "pay"))
                        if self._is_over.wait(_PAUSE_S):
                            return
            except httpx.TransportError as error:
                self.acknowledged.failures[type(error).__name__] += 1
            except AssertionError as error:
                self.acknowledged.failures[str(error)[:60]] += 1

    def _play(self) -> None:
        """Play the journey again and again; it may fail while something is down."""
        while not self._is_over.wait(_PAUSE_S):
            journey = Journey(self._gateway, self._realtime)
            with suppress(StepFailedError):
                asyncio.run(self._to_the_end(journey))
            self.acknowledged.events |= {(order, "") for order in journey.acknowledged.orders}
            self.acknowledged.events |= set(journey.acknowledged.events)

    async def _to_the_end(self, journey: Journey) -> None:
        try:
            async with aclosing(journey.play()) as steps:
                async for _ in steps:
                    if self._is_over.is_set():
                        return
                    self.acknowledged.steps += 1
                    await asyncio.sleep(_PAUSE_S)
        except StepFailedError as error:
            self.acknowledged.failures[f"demo: {error.step}"] += 1
            raise


async def play(platform: Platform) -> Journey:
    """Play the journey once and return it. Raises StepFailedError."""
    journey = Journey(platform.gateway, platform.realtime)
    async for _ in journey.play():
        pass
    return journey
