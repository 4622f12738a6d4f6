"""Before-hooks: a module's method in the actions service that may refuse a change or alter its data."""

from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
from stylobate.api.actions.v1.module_service_pb2 import CallHookRequest
from stylobate.api.actions.v1.module_service_pb2_grpc import ModuleServiceStub
from stylobate.declarations.model import BeforeHook
from stylobate.errors import StylobateError
from stylobate.logs import get_logger
from stylobate.outbox import Event
from stylobate.rpc.call import HOOK_DEPTH, MAX_HOOK_DEPTH

from stylobate_state.errors import StateHookUnavailableError

_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_log = get_logger("app")


class BeforeHooks:
    """Asks the hook of a change in the actions service, wherever that runs.

    :param channel: to actions; passes on the caller's token.
    :param timeout: how long the hook may take.
    """

    def __init__(self, channel: grpc.aio.Channel, timeout: timedelta) -> None:
        self._stub: Any = ModuleServiceStub(channel)
        self._timeout_s = timeout.total_seconds()

    async def ask(self, hook: BeforeHook, event: Event, hook_depth: int) -> bytes:
        """Return the data to use instead, as JSON; empty: as it is.

        :param hook_depth: how many hooks the change is under.
        :raises StateHookUnavailableError: no answer in time, and the hook must agree.
        :raises StylobateError: what the hook raised: the change is refused.
        """
        depth = ((HOOK_DEPTH, str(min(hook_depth + 1, MAX_HOOK_DEPTH))),)
        request = CallHookRequest(module=hook.module, hook=hook.method, event=event.json())
        try:
            response = await self._stub.CallHook(request, timeout=self._timeout_s, metadata=depth)
        except StylobateError as error:
            if error.code not in _UNANSWERED:
                raise
            if hook.on_unavailable == "allow":
                _log.warning("before_hook_skipped", module=hook.module, hook=hook.method, reason=error.reason)
                return b""
            raise StateHookUnavailableError(hook.module, hook.method) from error
        data: bytes = response.data
        return data
