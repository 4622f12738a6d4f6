"""Somebody who hears what is published, and comes back whenever the socket breaks."""

import json
import threading
from collections import Counter
from contextlib import suppress
from time import sleep
from types import TracebackType
from typing import Any, Self

from stylobate.testing.platform import Platform
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

from tests.people import Person

_LOOK_S = 0.2
"""How long a silent socket is waited for before the end is looked for."""


class Listener:
    """Listens to a channel in a thread until the block is left; what passes while it is not connected it does not hear."""

    def __init__(self, platform: Platform, channel: str) -> None:
        self._platform = platform
        self._channel = channel
        self._token = Person(platform.gateway, "listener").register().token
        self.heard: Counter[str] = Counter()
        """How often each publication was heard, by its JSON."""
        self.is_listening = threading.Event()
        """Once it has subscribed for the first time."""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._is_over.is_set():
            with suppress(OSError, WebSocketException), connect(self._platform.realtime) as socket:
                socket.send(json.dumps({"id": 1, "connect": {"token": self._token}}))
                socket.send(json.dumps({"id": 2, "subscribe": {"channel": self._channel}}))
                while not self._is_over.is_set():
                    with suppress(TimeoutError):
                        for line in str(socket.recv(timeout=_LOOK_S)).split("\n"):
                            self._take(json.loads(line))
            sleep(0.05)

    def _take(self, message: dict[str, Any]) -> None:
        if message.get("id") == 2 and "subscribe" in message:
            self.is_listening.set()
        if publication := message.get("push", {}).get("pub"):
            self.heard[json.dumps(publication["data"])] += 1
