"""Data of older schema versions, brought to that of today by the module's method in the actions service."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

import grpc.aio
from stylobate.api.actions.v1.module_service_pb2 import (
    OutdatedData,
    UpgradedData,
    UpgradeStatesRequest,
    UpgradeStatesResponse,
)
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.errors import StylobateError, UnavailableError
from stylobate.logs import get_logger

from stylobate_state.errors import (
    StateDataInvalidError,
    StateSchemaNewerError,
    StateUpgradeFailedError,
    StateUpgradeUnavailableError,
)
from stylobate_state.model import StateRecord
from stylobate_state.namespace import Namespace
from stylobate_state.sealing import NO_SEALING, Sealing

_MOST_BYTES = 4 * 1024 * 1024
"""Of data in one call: what comes back may be longer, and has to fit into a message too."""
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the data could not be upgraded."""

    reason: str
    """For operators."""


Ask = Callable[[UpgradeStatesRequest], Awaitable[UpgradeStatesResponse]]


def asking(channel: grpc.aio.Channel, timeout: timedelta) -> Ask:
    """Return what asks the actions service.

    :param channel: to it. :param timeout: how long the answer may take.
    """
    stub: Any = ModuleServiceStub(channel)
    return partial(stub.UpgradeStates, timeout=timeout.total_seconds())


async def _nobody(_request: UpgradeStatesRequest) -> UpgradeStatesResponse:
    raise UnavailableError("there are no modules here")


class Upgrades:
    """Has modules upgrade data. What is of the version of today is never asked about.

    :param ask: asks a module; raises StylobateError where it does not answer.
    """

    def __init__(self, ask: Ask = _nobody, sealing: Sealing = NO_SEALING) -> None:
        self._ask_module = ask
        self.sealing = sealing
        """Opens what is stored sealed before it is shown, and seals what is to be stored."""

    async def shown(self, states: Sequence[tuple[Namespace, StateRecord]]) -> list[StateRecord]:
        """Return the objects as readers see them, in their order: opened, and of the version of today, or marked with their own.

        :raises StateUpgradeUnavailableError: a module that is needed does not answer.
        """
        states = await self.sealing.opened(states)
        shown = [state for _, state in states]
        outdated: dict[str, list[int]] = {}
        for place, (namespace, state) in enumerate(states):
            if state.schema_version > namespace.schema_version:
                shown[place] = replace(state, is_other_schema=True)  # a reader of before is told what it gets
            elif state.schema_version < namespace.schema_version:
                outdated.setdefault(namespace.name, []).append(place)
        for places in outdated.values():
            found = await self.upgraded(states[places[0]][0], [shown[place] for place in places])
            for place, one in zip(places, found, strict=True):
                shown[place] = replace(shown[place], is_other_schema=True) if isinstance(one, Fault) else one
        return shown

    async def present(self, namespace: Namespace, state: StateRecord) -> StateRecord:
        """Return an object of the version of today, for a change to build on.

        :raises StateUpgradeUnavailableError: the module does not answer. :raises StateUpgradeFailedError: it makes nothing of
            the data. :raises StateSchemaNewerError: the data is of a version that is not known here.
        """
        if state.schema_version == namespace.schema_version:
            return state
        if state.schema_version > namespace.schema_version:
            raise StateSchemaNewerError(state.key, state.schema_version)
        (found,) = await self.upgraded(namespace, [state])
        if isinstance(found, Fault):
            raise StateUpgradeFailedError(state.key, state.schema_version)
        return found

    async def upgraded(self, namespace: Namespace, states: Sequence[StateRecord]) -> list[StateRecord | Fault]:
        """Return objects of older versions, upgraded and held to the schema, or why that is not possible; in their order.

        One call, unless the data is long. Raises StateUpgradeUnavailableError.
        """
        answers = await asyncio.gather(*(self._ask(namespace, part) for part in _parts(states)))
        return [
            _settled(namespace, state, item)
            for state, item in zip(states, (item for part in answers for item in part), strict=True)
        ]

    async def _ask(self, namespace: Namespace, states: Sequence[StateRecord]) -> Sequence[UpgradedData]:
        items = [OutdatedData(data=state.data, from_version=state.schema_version) for state in states]
        request = UpgradeStatesRequest(module=namespace.module, method=namespace.upgrade, items=items)
        try:
            response = await self._ask_module(request)
        except StylobateError as error:  # what a method raises stands in the answer: here nobody answered for it
            _log.warning("upgrade_unavailable", namespace=namespace.name, upgrade=namespace.upgrade, reason=error.reason)
            raise StateUpgradeUnavailableError(namespace.name) from error
        found: Sequence[UpgradedData] = response.items
        return found


def _parts(states: Sequence[StateRecord]) -> list[list[StateRecord]]:
    parts: list[list[StateRecord]] = [[]]
    size = 0
    for state in states:
        size += len(state.data)
        if parts[-1] and size > _MOST_BYTES:
            parts.append([])
            size = len(state.data)
        parts[-1].append(state)
    return parts


def _settled(namespace: Namespace, state: StateRecord, item: UpgradedData) -> StateRecord | Fault:
    """Return the object with its new data, held to the schema."""
    if not item.fault:
        try:
            namespace.check(item.data)
            return replace(state, data=item.data, schema_version=namespace.schema_version)
        except StateDataInvalidError as error:
            reason = f"the schema refuses what {namespace.upgrade} made: {error.told}"
    else:
        reason = item.fault
    about = {"namespace": namespace.name, "key": state.key.key, "from_version": state.schema_version}
    _log.warning("state_not_upgraded", **about, error=reason)
    return Fault(reason)


NO_UPGRADES = Upgrades()
"""For where all data is of the version of today."""
