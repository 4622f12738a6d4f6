"""The catalogue of actions as the gateway knows it: for the routes they declare and the OpenAPI document."""

import asyncio

import grpc.aio
from stylobate.api.actions.v1.action_service_pb2 import Action, ListActionsRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.errors import StylobateError
from stylobate.health import Health, Status
from stylobate.stopping import goes_on

from stylobate_gateway.called_action import CalledAction
from stylobate_gateway.routing import RouteTable

_PAGE = 500


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
