"""Actions as calls know them, and which one a request is for: by the path of its route."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Self
from urllib.parse import unquote_to_bytes

import orjson
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.declarations.model import RateLimit
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.route import Route
from stylobate.declarations.rules import PUBLIC, parse_rate_limit
from stylobate.logs import get_logger

_MARGIN_S = 1.0
"""An action that is late is told so by its own service; that answer must have the time to arrive."""
_log = get_logger("app")
PREFIX = "/v1/actions/"
ESCAPE = ord("%")
"""As a number: to look for bytes in bytes costs an exception each time."""
_OF_NETWORKS = b"/v1/bans/ip/"
BODY = RouteInput((), {}, has_body=True, is_object=False)
"""The input is the body, as it is."""


@dataclass(frozen=True, slots=True)
class CalledAction:
    """Made once, when the catalogue is read."""

    name: str
    is_public: bool = True
    timeout_s: float | None = None
    """For the whole call, in seconds; None: that of every call."""
    route: Route | None = None
    input: RouteInput = BODY
    """Of a request for the route."""
    limit: RateLimit | None = None
    """Its own; None: it has none, or one that this version does not know."""
    is_running: bool = True
    """False: its module is left out. Its service says so, whatever the input."""
    label: str = f"{PREFIX}{{name}}"
    """What calls of it are counted under: what clients may call as they like is one label."""

    @classmethod
    def of(cls, action: Action) -> Self:
        """Return the action of a catalogue's entry. A route that this version cannot serve is left out, and logged."""
        found = cls(
            action.name,
            is_public=action.access == PUBLIC,
            timeout_s=action.timeout.seconds + action.timeout.nanos / 1e9 + _MARGIN_S,
            limit=_limit(action.rate_limit),
            label=PREFIX + action.name,
        )
        if not action.route:
            return found
        try:
            route = Route.parse(action.route)
            schema = orjson.loads(action.input_schema) if action.input_schema else None
            return replace(found, route=route, input=RouteInput.of(route, schema))
        except ValueError as error:
            _log.error("route_left_out", action=action.name, route=action.route, error=str(error))
            return found

    @classmethod
    def left_out(cls, action: Action) -> Self:
        """Return an action whose module does not run."""
        label = PREFIX + action.name
        with suppress(ValueError):
            return cls(action.name, route=Route.parse(action.route) if action.route else None, is_running=False, label=label)
        return cls(action.name, is_running=False, label=label)


def _limit(text: str) -> RateLimit | None:
    with suppress(ValueError):
        return parse_rate_limit(text) if text else None
    return None  # its own service charges it


class Found(NamedTuple):
    """The action that a request is for."""

    action: CalledAction
    shape: RouteInput
    """How its input is put together."""
    values: tuple[str, ...] = ()
    """What stands for the parameters of its path, percent-decoded once."""


class _Node:
    """What may follow a piece of a path."""

    __slots__ = ("methods", "named", "parameter")

    def __init__(self) -> None:
        self.methods: dict[str, CalledAction] = {}
        self.named: dict[str, _Node] = {}
        self.parameter: _Node | None = None


class RouteTable:
    """Finds paths without parameters in one look-up, others segment by segment."""

    def __init__(self, actions: Iterable[CalledAction] = ()) -> None:
        self._plain: dict[tuple[str, str], Found] = {}
        self._root = _Node()
        self._deepest = 0
        for action in actions:
            if (route := action.route) is None:
                continue
            node = self._root
            self._deepest = max(self._deepest, len(route.segments))
            for segment in route.segments:
                if segment:
                    node = node.named.setdefault(segment, _Node())
                else:
                    node.parameter = node = node.parameter or _Node()
            node.methods[route.method] = action
            if not route.parameters:
                self._plain[route.method, route.path] = Found(action, action.input)

    def find(self, method: str, path: str, raw: bytes) -> Found | set[str]:
        """Return the action, of the most precise path that fits; else every method that some action takes there.

        :param path: percent-decoded.
        :param raw: as it was sent. A slash that was sent encoded separates nothing, and no declared path holds it.
        """
        if ESCAPE not in raw and (plain := self._plain.get((method, path))) is not None:
            return plain
        others: set[str] = set()
        for node, values in self._fitting(raw):
            if (action := node.methods.get(method)) is not None:
                return Found(action, action.input, values)
            others |= node.methods.keys()
        return others

    def _fitting(self, raw: bytes) -> Iterator[tuple[_Node, tuple[str, ...]]]:
        if raw.count(b"/") > self._deepest:
            return  # before anything is decoded: nobody has been charged for it yet
        first, *others = raw[1:].split(b"/")
        if b"%" not in first and first.decode() not in self._root.named:
            return  # every declared path begins with a name
        try:
            segments = [unquote_to_bytes(segment).decode() for segment in (first, *others)]
        except UnicodeDecodeError:
            return
        if not any("/" in segment or not segment for segment in segments):
            yield from _walk(self._root, segments, 0, ())


def _walk(node: _Node, segments: list[str], place: int, values: tuple[str, ...]) -> Iterator[tuple[_Node, tuple[str, ...]]]:
    if place == len(segments):
        yield node, values
        return
    segment = segments[place]
    if (named := node.named.get(segment)) is not None:
        yield from _walk(named, segments, place + 1, values)
    if node.parameter is not None:
        yield from _walk(node.parameter, segments, place + 1, (*values, segment))


def is_strange(path: str, raw: bytes) -> bool:
    """Return whether a path, which something in was percent-encoded, leads nowhere.

    Starlette's routes end with `$`, which passes over a line feed; a slash that was sent encoded separates nothing. Only
    networks have one in them, which clients made from the document encode.
    """
    return path.endswith("\n") or (b"%2f" in raw.lower() and not raw.startswith(_OF_NETWORKS))
