"""Running the methods of modules that bring data of older schema versions to that of today."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from stylobate.errors import InvalidInputError, Violation
from stylobate.logs import get_logger
from stylobate.modules.containment import contain, told
from stylobate.modules.loaded import UpgradeMethod
from stylobate.modules.payload import decode, encode
from stylobate.paging import MAX_SIZE
from stylobate.rpc.call import Call

from stylobate_actions.errors import HookTimeoutError
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import OverdueError, Runner

_TURN_S = 0.005
"""For how long upgrades hold the loop before they let others have it."""
_log = get_logger("app")


class Outdated(NamedTuple):
    """Data to upgrade."""

    data: bytes
    from_version: int


class Upgraded(NamedTuple):
    """What became of it: data, or why there is none."""

    data: bytes
    fault: str = ""


class UpgradeRunner:
    """Runs a module's upgrades where its handlers run; each piece of data succeeds or fails by itself."""

    def __init__(self, modules: ModuleManager, runner: Runner, *, timeout: timedelta, loop: asyncio.AbstractEventLoop) -> None:
        """Take how long a batch may take."""
        self._modules = modules
        self._runner = runner
        self._timeout_s = timeout.total_seconds()
        self._loop = loop

    async def upgrade(self, module: str, method: str, items: Sequence[Outdated], caller: Call) -> list[Upgraded]:
        """Upgrade each, in their order.

        :raises StylobateError: HOOK_NOT_FOUND, HOOK_UNAVAILABLE, HOOK_TIMEOUT; InvalidInputError for too many at once.
        """
        if len(items) > MAX_SIZE:
            raise InvalidInputError(violations=[Violation("/items", f"has more than {MAX_SIZE} entries")])
        code = self._modules.upgrade(module, method)
        name = f"{module}.{method}"
        deadline = self._loop.time() + self._timeout_s
        # it computes and asks nobody, so it runs for nobody
        call = Call(
            request_id=caller.request_id,
            traceparent=caller.traceparent,
            deadline=min(deadline, caller.deadline) if caller.deadline else deadline,
        )
        try:
            found: list[Upgraded] = await self._runner.run(name, call, self._each, name, code, items)
        except OverdueError:
            raise HookTimeoutError(metadata={"hook": name}) from None
        return found

    async def _each(self, name: str, code: UpgradeMethod, items: Sequence[Outdated]) -> list[Upgraded]:
        found: list[Upgraded] = []
        turn = self._loop.time()
        for item in items:
            found.append(_upgraded(name, code, item))
            if self._loop.time() - turn > _TURN_S:
                await asyncio.sleep(0)
                turn = self._loop.time()
        return found


def _upgraded(name: str, code: UpgradeMethod, item: Outdated) -> Upgraded:
    try:
        data = code(decode(item.data), item.from_version)
        if data is None:
            return Upgraded(b"", f"{name} returned nothing")
        return Upgraded(encode(data))
    except BaseException as error:  # noqa: BLE001  whatever the module's code raises, it is about this data
        fault = told(contain(error))
        _log.warning("upgrade_failed", upgrade=name, from_version=item.from_version, error=fault, exc_info=error)
        return Upgraded(b"", fault)
