"""The life of modules: initialized in dependency order, asked for their health, disposed in reverse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Self

from stylobate.declarations.model import ActionDeclaration, Finding, ModuleDeclaration
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.modules.base import BaseModule
from stylobate.modules.binding import BoundAction
from stylobate.modules.containment import kind
from stylobate.modules.importing import code_finding
from stylobate.modules.loaded import HookMethod, LoadedModule, UpgradeMethod
from stylobate.rpc.call import Call

from stylobate_actions.errors import HookNotFoundError, HookUnavailableError
from stylobate_actions.model import Discovery, ModuleFailure, ModuleStatus
from stylobate_actions.runner import OverdueError, Runner

_HEALTH_S = 0.8  # whoever asks the service waits a second, and is to hear which module does not say
_DISPOSE_S = 5.0
_log = get_logger("app")


class ModuleManager:
    """Holds the modules that run and knows about those that do not."""

    def __init__(self, discovery: Discovery, runner: Runner) -> None:
        self._runner = runner
        self.running: dict[str, LoadedModule] = {}
        """By name, in dependency order."""
        self.failures: dict[str, ModuleFailure] = {failure.name: failure for failure in discovery.failures}

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, discovery: Discovery, runner: Runner, *, start_timeout: timedelta) -> AsyncIterator[Self]:
        """Initialize the modules; one that fails or takes too long is left out, with everything that depends on it."""
        manager = cls(discovery, runner)
        async with AsyncExitStack() as stack:
            for module in discovery.loaded:
                await manager._start(module, stack, start_timeout)
            yield manager

    @property
    def actions(self) -> list[BoundAction]:
        """The actions of every module that runs."""
        return [action for module in self.running.values() for action in module.actions.values()]

    @property
    def left_out(self) -> list[ActionDeclaration]:
        """The actions of every module that does not run, as far as its declarations can be read."""
        return [
            action
            for failure in self.failures.values()
            if failure.declaration is not None
            for action in failure.declaration.actions
        ]

    def before_hook(self, module: str, method: str) -> tuple[LoadedModule, HookMethod]:
        """Return a before-hook: only methods that a declaration names are found.

        Raises HookNotFoundError, HookUnavailableError.
        """
        found = self._asked(module)
        if found is None or method not in found.before:
            raise HookNotFoundError(metadata={"module": module, "hook": method})
        return found, found.before[method]

    def upgrade(self, module: str, method: str) -> UpgradeMethod:
        """Return an upgrade, likewise. Raises HookNotFoundError, HookUnavailableError."""
        found = self._asked(module)
        if found is None or method not in found.upgrades:
            raise HookNotFoundError(metadata={"module": module, "hook": method})
        return found.upgrades[method]

    def _asked(self, module: str) -> LoadedModule | None:
        if module in self.failures:
            raise HookUnavailableError(metadata={"module": module}, retry_after=timedelta(seconds=30))
        return self.running.get(module)

    def names(self) -> list[str]:
        """Return the names of all modules, sorted."""
        return sorted({*self.running, *self.failures})

    async def status(self, name: str) -> ModuleStatus:
        """Return how the module is; asks it when it runs."""
        failure = self.failures.get(name)
        if failure is None:
            health = await self._health(self.running[name].instance)
            return _status(self.running[name].declaration, health.status, health.details)
        if failure.declaration is None:
            return ModuleStatus(name, Status.UNHEALTHY, detail=failure.detail)
        return _status(failure.declaration, Status.UNHEALTHY, failure.detail)

    async def health(self) -> Health:
        """Degraded while a module is not running or not well: the others serve on."""
        parts = {name: Health(Status.UNHEALTHY, failure.detail) for name, failure in self.failures.items()}
        found = await asyncio.gather(*(self._health(module.instance) for module in self.running.values()))
        parts |= dict(zip(self.running, found, strict=True))
        ill = [f"{name}: {part.details or part.status}" for name, part in parts.items() if part.status is not Status.HEALTHY]
        return Health(Status.DEGRADED if ill else Status.HEALTHY, "; ".join(ill), dependencies=parts)

    async def _start(self, module: LoadedModule, stack: AsyncExitStack, within: timedelta) -> None:
        missing = [name for name in module.declaration.dependencies if name in self.failures]
        if missing:
            self._leave_out(module, f"depends on {', '.join(missing)}, which is not running", None)
            return
        stack.push_async_callback(self._dispose, module.instance)  # also when it fails half-way
        try:
            await self._run(module.instance, module.instance.initialize, within.total_seconds())
        except OverdueError:
            self._leave_out(module, f"did not initialize within {within.total_seconds():g} s", None)
        except Exception as error:  # noqa: BLE001  a module's failure is its own
            self._leave_out(module, f"did not initialize: {kind(error)}; the log says more", error)
        else:
            self.running[module.name] = module

    async def _dispose(self, module: BaseModule) -> None:
        try:
            await self._run(module, module.dispose, _DISPOSE_S)
        except Exception as error:  # noqa: BLE001  the others are still to be disposed
            _log.error("module_did_not_dispose", module=module.name, exc_info=error)

    async def _health(self, module: BaseModule) -> Health:
        try:
            health = await self._run(module, module.health_check, _HEALTH_S)
        except OverdueError:
            return Health(Status.UNHEALTHY, f"its health check takes longer than {_HEALTH_S:g} s")
        except Exception as error:  # noqa: BLE001  whatever it raises, it is not well
            return Health(Status.UNHEALTHY, f"its health check failed: {kind(error)}")
        if not isinstance(health, Health):
            return Health(Status.UNHEALTHY, f"its health check returned {type(health).__name__}, not a Health")
        return health

    async def _run(self, module: BaseModule, code: Callable[[], Awaitable[Any]], within_s: float) -> Any:
        """Run a part of the module's life for so long; raise what it raises, or OverdueError."""
        deadline = asyncio.get_running_loop().time() + within_s
        return await self._runner.run(f"{module.name}.{getattr(code, '__name__', 'life')}", Call(deadline=deadline), code)

    def _leave_out(self, module: LoadedModule, detail: str, error: Exception | None) -> None:
        file = module.declaration.folder / "module.py"
        finding = Finding(str(file), 1, detail) if error is None else code_finding(error, file, "does not initialize")
        _log.error("module_left_out", module=module.name, error=detail, findings=[str(finding)], exc_info=error)
        self.failures[module.name] = ModuleFailure(module.name, detail, module.declaration, (finding,))


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
