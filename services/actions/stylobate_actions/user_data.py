"""What modules keep of a person outside of namespaces: given out, and forgotten."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from stylobate.errors import StylobateError
from stylobate.identity.principal import Principal, PrincipalKind
from stylobate.logs import get_logger
from stylobate.modules.base import BaseModule
from stylobate.modules.containment import told
from stylobate.modules.context import HookContext, Platform
from stylobate.modules.loaded import LoadedModule
from stylobate.rpc.call import Call

from stylobate_actions.errors import HookFailedError, HookTimeoutError, HookUnavailableError
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import OverdueError, Runner

_log = get_logger("app")


class UserData:
    """Calls the methods of modules about a person, where their handlers run and in this service's own name."""

    def __init__(
        self,
        modules: ModuleManager,
        platform: Platform,
        runner: Runner,
        *,
        service: str,
        timeout: timedelta,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Take how long a module may take."""
        self._modules = modules
        self._platform = platform
        self._runner = runner
        self._service = service
        self._timeout_s = timeout.total_seconds()
        self._loop = loop

    async def forget(self, tenant: str, user_id: str, caller: Call) -> None:
        """Let every module forget a person; twice does no harm.

        :raises StylobateError: what a module let through, HOOK_TIMEOUT or HOOK_FAILED; HOOK_UNAVAILABLE where one does not run,
            which may keep something.
        """
        for module in self._modules.running.values():
            if type(module.instance).delete_user is not BaseModule.delete_user:
                await self._run(module, module.instance.delete_user, tenant, user_id, caller)
        for name in sorted(self._modules.failures):
            raise HookUnavailableError(f"The module {name} does not run.", metadata={"module": name})

    async def _run(
        self, module: LoadedModule, method: Callable[[HookContext, str], Any], tenant: str, user_id: str, caller: Call
    ) -> Any:
        name, own = f"{module.name}.{method.__name__}", f"service:{self._service}"
        deadline = self._loop.time() + self._timeout_s
        call = Call(
            request_id=caller.request_id,
            traceparent=caller.traceparent,
            principal=Principal(PrincipalKind.SERVICE, own, tenant=tenant, via=self._service),
            deadline=min(deadline, caller.deadline) if caller.deadline else deadline,
            own_name=True,
            module=module.name,
        )
        try:
            return await self._runner.run(name, call, method, HookContext(self._platform, module.instance, name, call), user_id)
        except OverdueError:
            raise HookTimeoutError(metadata={"hook": name}) from None
        except StylobateError:
            raise
        except Exception as error:
            _log.error("hook_failed", module=module.name, hook=name, error=told(error), exc_info=error)
            raise HookFailedError(metadata={"hook": name}) from error
