"""Which service of a process answers which path: several share one HTTP port, each under the prefixes that its spec names."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from stylobate.app.express import Express
from stylobate.app.request_turns import TurnedAway
from stylobate.errors import NotFoundError
from stylobate.http.problem import problem_application

T = TypeVar("T")
Application = Callable[..., Any]
Upgrade = Callable[..., asyncio.Protocol]
"""Makes the protocol of a WebSocket (uvicorn's ``ws=`` contract)."""
_nothing_here = problem_application(NotFoundError("There is nothing at this path."))


class Mounts:
    """What is served under which prefix. Of two that fit, the longer one holds."""

    def __init__(self) -> None:
        self._applications: dict[str, Application] = {}
        self._upgrades: dict[str, Upgrade] = {}
        self._express: Express | None = None
        self.turned_away: TurnedAway | None = None
        """Is told of requests that are refused before an application sees them."""
        self.proxies: set[str] = set()
        """Networks (CIDR) of the proxies that one of them trusts."""

    def add(
        self,
        prefixes: Iterable[str],
        application: Application,
        proxies: Iterable[str] = (),
        express: Express | None = None,
        turned_away: TurnedAway | None = None,
    ) -> None:
        """Serve an ASGI application; it sees whole paths.

        :param express: answers some of its requests in its place; one application of a process has that.
        :param turned_away: is told of requests refused in its place; one application of a process has that.
        """
        _add(self._applications, prefixes, application)
        self.proxies |= set(proxies)
        self._express = express or self._express
        self.turned_away = turned_away or self.turned_away

    def add_websocket(self, prefixes: Iterable[str], upgrade: Upgrade, proxies: Iterable[str] = ()) -> None:
        """Serve WebSocket upgrades."""
        _add(self._upgrades, prefixes, upgrade)
        self.proxies |= set(proxies)

    @property
    def application(self) -> Application:
        """What serves every request; where one application serves all paths, itself."""
        mounted = self._applications
        if mounted.keys() == {"/"}:
            return mounted["/"]

        async def dispatch(scope: dict[str, Any], receive: Any, send: Any) -> None:
            await (_at(mounted, scope["path"]) or _nothing_here)(scope, receive, send)

        return dispatch

    @property
    def express(self) -> Express | None:
        """What answers some requests without ASGI; None also where another application is mounted among their paths."""
        found = self._express
        answered = tuple(found.prefixes.values()) if found is not None else ()
        return None if any(place.encode().startswith(answered) for place in self._applications) else found

    def websocket_at(self, url: bytes) -> Upgrade | None:
        """Return what makes the WebSocket of a request target; None: an upgrade is not taken up there."""
        return _at(self._upgrades, url.partition(b"?")[0].decode("latin-1"))


def _add(mounted: dict[str, T], prefixes: Iterable[str], served: T) -> None:
    places = tuple(prefixes)
    if not places or mounted.keys() & places:
        raise ValueError(f"{', '.join(places) or 'no prefix'}: a service serves HTTP under the prefixes of its spec, and alone")
    mounted |= dict.fromkeys(places, served)


def _at(mounted: dict[str, T], path: str) -> T | None:
    """Return what is mounted at the longest prefix of a path, at ``/`` what no other fits."""
    while path not in mounted:
        if path == "/":
            return None
        path = path.rpartition("/")[0] or "/"
    return mounted[path]
