"""An action as the gateway calls it: how its input is put together from a request, and how long it may take."""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import orjson
from stylobate.api.actions.v1.action_service_pb2 import Action
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.parameters import RouteInput
from stylobate.declarations.route import Route
from stylobate.declarations.rules import PUBLIC
from stylobate.logs import get_logger

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
            return replace(found, route=route, input=RouteInput.of(route, _schema(action.input_schema)))
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


def _schema(payload: bytes) -> JsonSchema | None:
    return orjson.loads(payload) if payload else None
