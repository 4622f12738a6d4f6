"""What is known of where a service is: found in the background, kept while nobody can be asked."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from stylobate.discovery import Discovery, Places
from stylobate.logs import get_logger
from stylobate.resilience import Interruption, backoff

INTERRUPTED = "discovery_interrupted"
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Found:
    """What was found last."""

    places: Places
    trouble: str = ""
    """Why it may be out of date; empty while it is not."""


class Whereabouts:
    """The addresses of one service, for whoever connects to them. It begins to look when the first one listens.

    The last known addresses stay while nobody can be asked, and when nobody is there according to the answer: who was there
    may still be, and else a call fails as it would without an address.

    :param service: whose, for logs. :param discovery: finds them; it is watched again, with backoff, when it fails.
    :param interruption: tells of failures; shared by those that ask the same server, so that one outage is one line.
    """

    def __init__(self, service: str, discovery: Discovery, interruption: Interruption | None = None) -> None:
        self.service = service
        self.discovery = discovery
        self.found = Found({})
        self._lost = asyncio.Event()
        self._listeners: list[Callable[[Places], None]] = []
        self._looking: asyncio.Task[None] | None = None
        self._interruption = interruption or Interruption(INTERRUPTED)
        self._is_closed = False

    def listen(self, listener: Callable[[Places], None]) -> None:
        """Tell of the addresses: at once where some are known, then whenever they are others."""
        self._listeners.append(listener)
        if self.found.places:
            listener(self.found.places)
        if self._looking is None and not self._is_closed:
            self._looking = asyncio.get_running_loop().create_task(
                self._look(), name=f"where {self.service} is", context=Context()
            )

    def lost(self) -> None:
        """Take note that one of the addresses does not answer any more: look again soon."""
        self._lost.set()

    def close(self) -> "asyncio.Task[None] | None":
        """Look no more; return what looked, which ends now."""
        self._is_closed = True
        if self._looking is not None:
            self._looking.cancel()
        return self._looking

    def shown(self) -> dict[str, Any]:
        """Return what ``/status`` shows."""
        found = self.found
        return {"how": self.discovery.how, "addresses": dict(sorted(found.places.items())), "trouble": found.trouble}

    async def _look(self) -> None:
        pauses = backoff()
        while True:
            try:
                async with aclosing(self.discovery.watch(self._lost)) as watched:  # type: ignore[type-var]  # generators are
                    async for places in watched:
                        self._take(places)
                        pauses = backoff()
                if self.discovery.is_told:
                    return
            except (OSError, ValueError) as error:
                self._trouble(str(error) or type(error).__name__)
            await asyncio.sleep(next(pauses))

    def _take(self, places: Places) -> None:
        if not places:
            self._trouble("nobody is there")
            return
        if self._interruption.over():
            _log.info("discovery_resumed", target=self.service, how=self.discovery.how)
        before, self.found = self.found.places, Found(dict(places))
        if before != places:
            if before:
                _log.info("service_moved", target=self.service, addresses=sorted(places))
            for listener in self._listeners:
                listener(self.found.places)

    def _trouble(self, cause: str) -> None:
        kept = len(self.found.places)
        self.found = Found(self.found.places, cause)
        what = f"the {kept} addresses known before are used" if kept else "calls to it fail until it is found"
        self._interruption.note(target=self.service, how=self.discovery.how, cause=cause, meanwhile=what)
