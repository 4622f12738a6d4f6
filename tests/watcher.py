"""A watcher of state that comes back with the last id whatever breaks, and keeps count of what it heard."""

import threading
from time import monotonic
from types import TracebackType
from typing import Self

import httpx
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.server_events import ServerEvent, ServerEventReader

_PAUSE_S = 0.2
_BUSY = (429, 503)


class StateWatcher:
    """Watches state in a thread, for as long as the block lasts, whatever breaks; remembers versions by key.

    Between a snapshot and the next each key's versions must rise by one: what comes twice or is missing is noted.
    """

    def __init__(self, gateway: str, headers: dict[str, str], path: str) -> None:
        self.versions: dict[str, int] = {}
        """By key the last version that was heard of."""
        self.wrong: list[str] = []
        self.changes = self.gaps = self.connections = 0
        self.heard_at: dict[tuple[str, int], float] = {}
        """When each version was told, by the monotonic clock."""
        self.ends: list[str] = []
        self.is_following = threading.Event()
        """Set behind the first snapshot."""
        self._headers, self._path = headers, path
        self._http = httpx.Client(base_url=gateway, timeout=httpx.Timeout(30, connect=5), verify=NO_TLS)
        self._position = ""
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End; within a sign of life."""
        self._is_over.set()
        self._thread.join()
        self._http.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            headers = self._headers | ({"last-event-id": self._position} if self._position else {})
            try:
                with self._http.stream("GET", self._path, headers=headers) as answer:
                    if answer.status_code in _BUSY:
                        self._is_over.wait(_PAUSE_S)
                        continue
                    assert answer.status_code == 200, answer.read()
                    self.connections += 1
                    reader = ServerEventReader()
                    for line in answer.iter_lines():
                        if (event := reader.line(line)) is not None:
                            self._take(event)
                        if self._is_over.is_set():
                            return
            except httpx.TransportError:
                self._is_over.wait(_PAUSE_S)
            except AssertionError as error:
                self.wrong.append(str(error))
                return

    def _take(self, event: ServerEvent) -> None:
        self._position = event.id or self._position
        data = event.data
        match event.kind:
            case "snapshot":
                if data["part"] == 1:
                    self.versions = {}
                self.versions |= {item["key"]: item["version"] for item in data["items"]}
                if data["complete"]:
                    self.is_following.set()
            case "change":
                self.changes += 1
                key, version = data["key"], data["version"]
                if version != self.versions.get(key, 0) + 1:
                    self.wrong.append(f"{key}: {version} behind {self.versions.get(key, 0)}")
                self.versions[key] = version
                self.heard_at[key, version] = monotonic()
            case "gap":
                self.gaps += 1
            case "end":
                self.ends.append(data["code"])
