"""The actions as the gateway knows them: for calls by name, for the routes that they declare, and for the OpenAPI document."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Self
from urllib.parse import unquote_to_bytes

import grpc.aio
import orjson
from stylobate.api.actions.v1.action_service_pb2 import Action, ListActionsRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.route import Route
from stylobate.declarations.rules import PUBLIC
from stylobate.errors import StylobateError
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

_PAGE = 500
_MARGIN_S = 1.0
"""An action that is late is told so by its own service; that answer must have the time to arrive."""
_log = get_logger("app")
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
    is_running: bool = True
    """False: its module is left out. Its service says so, whatever the input."""

    @classmethod
    def of(cls, action: Action) -> Self:
        """Return the action of a catalogue's entry. A route that this version cannot serve is left out, and logged."""
        found = cls(
            action.name,
            is_public=action.access == PUBLIC,
            timeout_s=action.timeout.seconds + action.timeout.nanos / 1e9 + _MARGIN_S,
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
        with suppress(ValueError):
            return cls(action.name, route=Route.parse(action.route) if action.route else None, is_running=False)
        return cls(action.name, is_running=False)


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
        for action in actions:
            if (route := action.route) is None:
                continue
            node = self._root
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
        if b"%" not in raw and (plain := self._plain.get((method, path))) is not None:
            return plain
        others: set[str] = set()
        for node, values in self._fitting(raw):
            if (action := node.methods.get(method)) is not None:
                return Found(action, action.input, values)
            others |= node.methods.keys()
        return others

    def _fitting(self, raw: bytes) -> Iterator[tuple[_Node, tuple[str, ...]]]:
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


class Catalogue:
    """Read from the actions service again and again; what was read last holds while that service is away."""

    def __init__(self, channel: grpc.aio.Channel, interval_s: float) -> None:
        self._stub = ActionServiceStub(channel)
        self._interval_s = interval_s
        self._why = "not read yet"
        self.actions: tuple[Action, ...] = ()
        """Those that run."""
        self._left_out: tuple[Action, ...] = ()
        self.called: dict[str, CalledAction] = {}
        """By name, what a call needs to know; of modules that do not run too."""
        self.routes = RouteTable()
        self.is_read = False
        """Whether it was read at least once."""
        self.version = 0
        """Rises when the catalogue changes."""

    async def run(self) -> None:
        """Keep reading, soon again while it does not work."""
        while goes_on():
            try:
                self._take(*await self._read())
                self.is_read, self._why = True, ""
            except StylobateError as error:
                self._why = f"{error.reason}: {error.detail}"
            await asyncio.sleep(self._interval_s if not self._why else min(0.2, self._interval_s))

    async def health(self) -> Health:
        """Degraded while the catalogue could not be read."""
        return Health(Status.DEGRADED if self._why else Status.HEALTHY, self._why, {"actions": len(self.actions)})

    async def _read(self) -> tuple[tuple[Action, ...], tuple[Action, ...]]:
        """Return the actions that run, and those that do not."""
        actions: list[Action] = []
        left_out: list[Action] = []
        token = ""
        while True:
            page = await self._stub.ListActions(ListActionsRequest(page_size=_PAGE, page_token=token))
            actions += page.actions
            left_out += page.left_out
            token = page.next_page_token
            if not token:
                return tuple(actions), tuple(left_out)

    def _take(self, actions: tuple[Action, ...], left_out: tuple[Action, ...]) -> None:
        if (actions, left_out) == (self.actions, self._left_out):
            return
        self.actions, self._left_out = actions, left_out
        self.version += 1
        self.called = {action.name: CalledAction.left_out(action) for action in left_out}
        self.called |= {action.name: CalledAction.of(action) for action in actions}  # where both have a route, it is theirs
        self.routes = RouteTable(self.called.values())
