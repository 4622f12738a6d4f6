"""Running hooks of modules: on events, and before changes of state."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from stylobate.errors import StylobateError
from stylobate.identity.principal import ANONYMOUS, Principal, PrincipalKind
from stylobate.logs import get_logger
from stylobate.modules.containment import told
from stylobate.modules.context import HookContext, Platform
from stylobate.modules.loaded import BoundHook, HookMethod, LoadedModule
from stylobate.modules.payload import encode
from stylobate.modules.view import View
from stylobate.outbox.event import Event
from stylobate.rpc.call import MAX_HOOK_DEPTH, Call
from stylobate.telemetry import SpanKind, is_sampled, span, spreads

from stylobate_actions.action_manager import ActionManager
from stylobate_actions.blame import is_defect
from stylobate_actions.errors import (
    HookFailedError,
    HookTimeoutError,
)
from stylobate_actions.module_manager import ModuleManager
from stylobate_actions.runner import OverdueError, Runner

_SERVICE_PREFIX = "service:"
_log = get_logger("app")


class HookRunner:
    """Runs a module's hooks as this service, with the rights of the subject that caused the event.

    Where that is a service, the hook has this service's rights; where nobody is known, it has none.
    """

    def __init__(
        self,
        modules: ModuleManager,
        platform: Platform,
        runner: Runner,
        *,
        service: str,
        timeout: timedelta,
        before_timeout: timedelta,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Take how long a hook may work on an event, and how long one may hold up a change."""
        self._modules = modules
        self._platform = platform
        self._runner = runner
        self._service = service
        self._timeout_s = timeout.total_seconds()
        self._before_timeout_s = before_timeout.total_seconds()
        self._loop = loop
        self._seconds = spreads("actions_hook_seconds", "Time of hooks by outcome, in seconds.", ("hook", "outcome"))

    async def handle(self, module: LoadedModule, hook: BoundHook, event: Event) -> None:
        """Run a hook on an event.

        :raises StylobateError: what the hook let through, HOOK_TIMEOUT or HOOK_FAILED; whoever delivers the event decides
            whether it comes again.
        """
        with self._caused(hook.name, module.name, event) as call:
            await self._run(module, hook.name, hook.method, event, call)

    async def effect(self, actions: ActionManager, name: str, action: str, event: Event) -> None:
        """Call an action with what an event tells, in its name and with its id as idempotency key.

        :raises StylobateError: what the action raises.
        """
        with self._caused(name, "", event) as call:  # the action says its own
            await actions.execute(action, event.data, call, key=event.id)

    async def project(self, module: LoadedModule, name: str, view: View, event: Event) -> None:
        """Run the method of a projection on an event: on what it is given, in nobody's name.

        :raises StylobateError: what the method let through, HOOK_TIMEOUT. :raises Exception: its defect.
        """
        with self._caused(name, module.name, event) as call:
            try:
                await self._runner.run(name, call, module.projections[name], view, event)
            except OverdueError:
                raise HookTimeoutError(metadata={"hook": name}) from None

    @contextmanager
    def _caused(self, name: str, module: str, event: Event) -> Iterator[Call]:
        """Give the call of what an event brings about in a module, within its trace."""
        deadline = self._loop.time() + self._timeout_s
        with span(self._service, f"hook {name}", event.traceparent, kind=SpanKind.CONSUMER, **_told_of(event)) as opened:
            yield self._call(event, module, Call(request_id=event.id, traceparent=opened.traceparent), deadline)

    async def before(self, module_name: str, method_name: str, event: Event, caller: Call) -> bytes:
        """Run a before-hook and return the data to use instead as JSON, empty to leave it as it is.

        :raises StylobateError: the refusal of the hook, unchanged; HOOK_NOT_FOUND, HOOK_UNAVAILABLE,
            HOOK_TIMEOUT, HOOK_FAILED.
        """
        module, method = self._modules.before_hook(module_name, method_name)
        name = f"{module_name}.{method_name}"
        deadline = self._loop.time() + self._before_timeout_s
        if caller.deadline:
            deadline = min(deadline, caller.deadline)
        try:
            data = await self._run(module, name, method, event, self._call(event, module_name, caller, deadline))
        except StylobateError as error:
            if is_defect(error, event.data):
                raise self._failed(module, name, error) from error
            raise
        if data is None:
            return b""
        try:
            payload = encode(data)
        except BaseException as error:  # the module's own types write the data
            raise self._failed(module, name, error) from error
        if not payload.startswith(b"{"):
            raise self._failed(module, name, TypeError("a before-hook returns None or the new data, an object"))
        return payload

    def _call(self, event: Event, module: str, caller: Call, deadline: float) -> Call:
        own_name = event.actor.startswith(_SERVICE_PREFIX)
        act_for = "" if own_name else event.actor
        own = f"{_SERVICE_PREFIX}{self._service}"
        known = Principal(PrincipalKind.SERVICE, own, tenant=event.tenant, via=self._service, act_for=act_for)
        return Call(
            request_id=caller.request_id,
            traceparent=caller.traceparent,
            principal=known if event.actor else ANONYMOUS.with_via(self._service),  # nobody's event lends no rights
            deadline=deadline,
            # whoever asks for a before-hook has counted it already; a hook on an event is one deeper than the event
            hook_depth=min(max(caller.hook_depth, event.depth + 1), MAX_HOOK_DEPTH),
            act_for=act_for,
            act_for_tenant=event.tenant if act_for else "",
            own_name=own_name,
            module=module,
        )

    async def _run(self, module: LoadedModule, name: str, method: HookMethod, event: Event, call: Call) -> Any:
        context = HookContext(self._platform, module.instance, name, call)
        started = self._loop.time()
        outcome = "CANCELLED"
        try:
            result = await self._runner.run(name, call, method, context, event)
            outcome = "OK"
        except StylobateError as error:
            outcome = error.reason
            raise
        except OverdueError:
            outcome = HookTimeoutError.reason
            raise HookTimeoutError(metadata={"hook": name}) from None
        except Exception as error:
            outcome = HookFailedError.reason
            raise self._failed(module, name, error) from error
        finally:
            seconds, series = self._loop.time() - started, self._seconds.of(name, outcome)
            series.observe(seconds)
            if is_sampled(call.traceparent):
                series.exemplify(seconds, call.traceparent)
        return result

    def _failed(self, module: LoadedModule, name: str, error: BaseException) -> HookFailedError:
        _log.error("hook_failed", module=module.name, hook=name, error=told(error), exc_info=error)
        return HookFailedError(metadata={"hook": name})


def _told_of(event: Event) -> dict[str, str]:
    """Return what a span says of an event, by OpenTelemetry's names for CloudEvents."""
    return {
        "cloudevents__event_id": event.id,
        "cloudevents__event_source": event.source,
        "cloudevents__event_type": event.type,
        "cloudevents__event_subject": event.subject,
    }
