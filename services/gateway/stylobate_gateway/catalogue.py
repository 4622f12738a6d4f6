"""The actions as the gateway knows them: for calls by name, for the routes that they declare, and for the OpenAPI document."""

import asyncio
from typing import NamedTuple

import grpc.aio
from stylobate.api.actions.v1.action_service_pb2 import Action, ListActionsRequest, ModuleRefusals
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.errors import StylobateError
from stylobate.health import Health, Status
from stylobate.stopping import goes_on

from stylobate_gateway.called_actions import BODY, ESCAPE, PREFIX, CalledAction, Found, RouteTable, is_strange

_PAGE = 500


class Rule(NamedTuple):
    """What a reason of a module's own says."""

    module: str
    detail: str


class _Read(NamedTuple):
    """What the actions service tells."""

    actions: tuple[Action, ...] = ()
    left_out: tuple[Action, ...] = ()
    refusals: tuple[ModuleRefusals, ...] = ()

    def rules(self) -> dict[str, Rule]:
        """Return what modules refuse with, by reason."""
        found: dict[str, Rule] = {}
        for action in self.actions:
            for refusal in action.refusals:
                found.setdefault(refusal.reason, Rule(action.module, refusal.detail))
        for module in self.refusals:
            for refusal in module.refusals:
                found.setdefault(refusal.reason, Rule(module.module, refusal.detail))
        return found


class Catalogue:
    """Read from the actions service again and again; what was read last holds while that service is away."""

    def __init__(self, channel: grpc.aio.Channel, interval_s: float) -> None:
        self._stub = ActionServiceStub(channel)
        self._interval_s = interval_s
        self._why = "not read yet"
        self.actions: tuple[Action, ...] = ()
        """Those that run."""
        self.rules: dict[str, Rule] = {}
        """What modules refuse with, by reason."""
        self._last = _Read()
        self.called: dict[str, CalledAction] = {}
        """By name, what a call needs to know; of modules that do not run too."""
        self.routes = RouteTable()
        self._by_name: dict[str, Found] = {}
        """By the path of calls by name."""
        self.is_read = False
        """Whether it was read at least once."""
        self.version = 0
        """Rises when the catalogue changes."""

    def find(self, method: str, path: str, raw: bytes) -> Found | set[str]:
        """Return the action that a request is for; else every method that actions take there.

        :param path: percent-decoded.
        :param raw: as it was sent.
        """
        if ESCAPE in raw and is_strange(path, raw):
            return set()
        if method == "POST" and (by_name := self._by_name.get(path)) is not None:
            return by_name
        if path.startswith(PREFIX):
            name = path[len(PREFIX) :]
            # whether one exists that is not in the catalogue, its service says
            return Found(CalledAction(name), BODY) if method == "POST" else set()
        return self.routes.find("GET" if method == "HEAD" else method, path, raw)  # RFC 9110 §9.3.2

    async def run(self) -> None:
        """Keep reading, soon again while it does not work."""
        while goes_on():
            try:
                self._take(await self._read())
                self.is_read, self._why = True, ""
            except StylobateError as error:
                self._why = f"{error.reason}: {error.detail}"
            await asyncio.sleep(self._interval_s if not self._why else min(0.2, self._interval_s))

    async def health(self) -> Health:
        """Degraded while the catalogue could not be read."""
        return Health(Status.DEGRADED if self._why else Status.HEALTHY, self._why, {"actions": len(self.actions)})

    async def _read(self) -> _Read:
        actions: list[Action] = []
        left_out: list[Action] = []
        refusals: list[ModuleRefusals] = []
        token = ""
        while True:
            page = await self._stub.ListActions(ListActionsRequest(page_size=_PAGE, page_token=token))
            actions += page.actions
            left_out += page.left_out
            refusals += page.refusals
            token = page.next_page_token
            if not token:
                return _Read(tuple(actions), tuple(left_out), tuple(refusals))

    def _take(self, read: _Read) -> None:
        if read == self._last:
            return
        self._last = read
        self.actions, self.rules = read.actions, read.rules()
        self.version += 1
        self.called = {action.name: CalledAction.left_out(action) for action in read.left_out}
        # where both have a route, it is that of those that run
        self.called |= {action.name: CalledAction.of(action) for action in read.actions}
        self.routes = RouteTable(self.called.values())
        self._by_name = {PREFIX + name: Found(action, BODY) for name, action in self.called.items()}
