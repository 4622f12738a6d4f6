"""The life of modules: initialized in dependency order, asked for their health, disposed in reverse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Self

from stylobate.declarations.model import ModuleDeclaration
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.modules.base import BaseModule
from stylobate.modules.binding import BoundAction
from stylobate.modules.loaded import HookMethod, LoadedModule

from stylobate_actions.errors import HookNotFoundError, HookUnavailableError
from stylobate_actions.model import Discovery, ModuleFailure, ModuleStatus

_HEALTH_S = 1.0
_DISPOSE_S = 5.0
_log = get_logger("app")


class ModuleManager:
    """Holds the modules that run and knows about those that do not."""

    def __init__(self, discovery: Discovery) -> None:
        self.running: dict[str, LoadedModule] = {}
        """By name, in dependency order."""
        self.failures: dict[str, ModuleFailure] = {failure.name: failure for failure in discovery.failures}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, discovery: Discovery, *, start_timeout: timedelta) -> AsyncIterator[Self]:
        """Initialize the modules; one that fails or takes too long is left out, with everything that depends on it."""
        manager = cls(discovery)
        async with AsyncExitStack() as stack:
            for module in discovery.loaded:
                await manager._start(module, stack, start_timeout)
            yield manager

    @property
    def actions(self) -> list[BoundAction]:
        """The actions of every module that runs."""
        return [action for module in self.running.values() for action in module.actions.values()]

    @property
    def unavailable_actions(self) -> list[str]:
        """The names of actions that are declared by modules that do not run."""
        declarations = [failure.declaration for failure in self.failures.values() if failure.declaration is not None]
        return [action.name for declaration in declarations for action in declaration.actions]

    def before_hook(self, module: str, method: str) -> tuple[LoadedModule, HookMethod]:
        """Return a before-hook: only methods that a declaration names are found.

        Raises HookNotFoundError, HookUnavailableError.
        """
        if module in self.failures:
            raise HookUnavailableError(metadata={"module": module}, retry_after=timedelta(seconds=30))
        found = self.running.get(module)
        if found is None or method not in found.before:
            raise HookNotFoundError(metadata={"module": module, "hook": method})
        return found, found.before[method]

    def names(self) -> list[str]:
        """Return the names of all modules, sorted."""
        return sorted({*self.running, *self.failures})

    async def status(self, name: str) -> ModuleStatus:
        """Return how the module is; asks it when it runs."""
        failure = self.failures.get(name)
        if failure is None:
            health = await _health(self.running[name].instance)
            return _status(self.running[name].declaration, health.status, health.details)
        if failure.declaration is None:
            return ModuleStatus(name, Status.UNHEALTHY, detail=failure.detail)
        return _status(failure.declaration, Status.UNHEALTHY, failure.detail)

    async def health(self) -> Health:
        """Degraded while a module is not running or not well: the others serve on."""
        parts = {name: Health(Status.UNHEALTHY, failure.detail) for name, failure in self.failures.items()}
        found = await asyncio.gather(*(_health(module.instance) for module in self.running.values()))
        parts |= dict(zip(self.running, found, strict=True))
        ill = [f"{name}: {part.details or part.status}" for name, part in parts.items() if part.status is not Status.HEALTHY]
        return Health(Status.DEGRADED if ill else Status.HEALTHY, "; ".join(ill), dependencies=parts)

    async def _start(self, module: LoadedModule, stack: AsyncExitStack, within: timedelta) -> None:
        missing = [name for name in module.declaration.dependencies if name in self.failures]
        if missing:
            self._leave_out(module, f"depends on {', '.join(missing)}, which is not running")
            return
        stack.push_async_callback(_dispose, module.instance)  # also when it fails half-way
        try:
            async with asyncio.timeout(within.total_seconds()):
                await module.instance.initialize()
        except TimeoutError:
            self._leave_out(module, f"did not initialize within {within.total_seconds():g} s")
        except Exception as error:  # noqa: BLE001  a module's failure is its own
            _log.error("module_did_not_initialize", module=module.name, exc_info=error)
            self._leave_out(module, f"did not initialize: {type(error).__name__}; the log says more")
        else:
            self.running[module.name] = module

    def _leave_out(self, module: LoadedModule, detail: str) -> None:
        _log.error("module_left_out", module=module.name, error=detail)
        self.failures[module.name] = ModuleFailure(module.name, detail, module.declaration)


def _status(declaration: ModuleDeclaration, status: Status, detail: str) -> ModuleStatus:
    return ModuleStatus(
        name=declaration.name,
        status=status,
        version=declaration.version,
        description=declaration.description,
        detail=detail,
        dependencies=declaration.dependencies,
        actions=tuple(sorted(action.name for action in declaration.actions)),
    )


async def _dispose(module: BaseModule) -> None:
    try:
        async with asyncio.timeout(_DISPOSE_S):
            await module.dispose()
    except Exception as error:  # noqa: BLE001  the others are still to be disposed
        _log.error("module_did_not_dispose", module=module.name, exc_info=error)


async def _health(module: BaseModule) -> Health:
    try:
        async with asyncio.timeout(_HEALTH_S):
            return await module.health_check()
    except Exception as error:  # noqa: BLE001  whatever it raises, it is not well
        return Health(Status.UNHEALTHY, f"its health check failed: {type(error).__name__}")
