"""What modules keep of a person outside of namespaces: given out, and forgotten."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from stylobate.errors import StylobateError
from stylobate.identity.principal import Principal, PrincipalKind
from stylobate.json_members import is_object
from stylobate.logs import get_logger
from stylobate.modules.base import BaseModule
from stylobate.modules.containment import told
from stylobate.modules.context import HookContext, Platform
from stylobate.modules.loaded import LoadedModule
from stylobate.modules.payload import encode
from stylobate.rpc.call import Call

from stylobate_actions.errors import ExportNotWrittenError, HookFailedError, HookTimeoutError, HookUnavailableError
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import OverdueError, Runner

_AT_ONCE = 100
"""Records that are drawn at a time."""
_BYTES_AT_ONCE = 1024 * 1024
_LONGEST = 8 * 1024 * 1024
"""Bytes of a record: half of the longest message between services."""
_log = get_logger("app")


@dataclass(frozen=True, slots=True)
class Given:
    """A record that a module gives out, or that there are no more."""

    module: str
    record: bytes = b""
    """JSON of an object; empty: the module is at its end."""
    error: StylobateError | None = None
    """At the end: what kept it from giving out everything."""


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
                name, call = f"{module.name}.delete_user", self._call(module, tenant, caller)
                context = HookContext(self._platform, module.instance, name, call)
                await self._run(module, name, call, module.instance.delete_user, context, user_id)
        for name in sorted(self._modules.failures):
            raise HookUnavailableError(f"The module {name} does not run.", metadata={"module": name})

    async def export(self, tenant: str, user_id: str, caller: Call) -> AsyncGenerator[Given, None]:
        """Yield what every module gives out of a person, by the names of modules: its records, then how it ended.

        A module that keeps nothing is not heard of. One that does not run may keep something, and one that forgets people does:
        where these give nothing out, they end with an error.
        """
        for name in self._modules.names():
            module = self._modules.running.get(name)
            if module is None:
                yield Given(name, error=HookUnavailableError(f"The module {name} does not run.", metadata={"module": name}))
            elif type(module.instance).export_user is not BaseModule.export_user:
                async with aclosing(self._given(module, tenant, user_id, caller)) as given:
                    async for one in given:
                        yield one
            elif type(module.instance).delete_user is not BaseModule.delete_user:
                yield Given(name, error=ExportNotWrittenError(metadata={"module": name}))

    async def _given(self, module: LoadedModule, tenant: str, user_id: str, caller: Call) -> AsyncGenerator[Given, None]:
        """Draw records out of a module, some at a time, so that it makes no more than are sent on."""
        name, call = f"{module.name}.export_user", self._call(module, tenant, caller)
        context = HookContext(self._platform, module.instance, name, call)
        records: Any = module.instance.export_user(context, user_id)
        is_over = False
        try:
            while not is_over:
                call.deadline = self._loop.time() + self._timeout_s
                part, error = list[bytes](), None
                try:
                    is_over = await self._run(module, name, call, _draw, records, part)
                except StylobateError as found:
                    error, is_over = found, True
                for record in part:
                    yield Given(module.name, record)
                if is_over:
                    yield Given(module.name, error=error)
        finally:
            if not is_over:
                with suppress(StylobateError):
                    await self._run(module, name, call, records.aclose)

    def _call(self, module: LoadedModule, tenant: str, caller: Call) -> Call:
        """Return the call that a method of a module is, in this service's own name."""
        deadline = self._loop.time() + self._timeout_s
        own = f"service:{self._service}"
        return Call(
            request_id=caller.request_id,
            traceparent=caller.traceparent,
            principal=Principal(PrincipalKind.SERVICE, own, tenant=tenant, via=self._service),
            deadline=min(deadline, caller.deadline) if caller.deadline else deadline,
            own_name=True,
            module=module.name,
        )

    async def _run(self, module: LoadedModule, name: str, call: Call, code: Callable[..., Any], *arguments: Any) -> Any:
        """Run code of a module. Raises StylobateError: what it let through, HOOK_TIMEOUT or HOOK_FAILED."""
        try:
            return await self._runner.run(name, call, code, *arguments)
        except OverdueError:
            raise HookTimeoutError(metadata={"hook": name}) from None
        except StylobateError:
            raise
        except Exception as error:
            _log.error("hook_failed", module=module.name, hook=name, error=told(error), exc_info=error)
            raise HookFailedError(metadata={"hook": name}) from error


async def _draw(records: AsyncIterator[Any], part: list[bytes]) -> bool:
    """Add some records to the part; return whether there are no more. Raises what the module does; TypeError for no record."""
    size = 0
    async for record in records:
        data = encode(record)
        if not is_object(data) or len(data) > _LONGEST:
            raise TypeError(f"export_user yields JSON objects of at most {_LONGEST} bytes, not {type(record).__name__}")
        part.append(data)
        size += len(data)
        if len(part) >= _AT_ONCE or size >= _BYTES_AT_ONCE:
            return False
    return True
