"""Who may open a socket: what is checked and charged before the upgrade is answered."""

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Protocol

from stylobate.app.own_host import is_local_host
from stylobate.errors import StylobateError
from stylobate.identity import limit_key

from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.wire.handshake import UpgradeRefusedError, UpgradeRequest

PATHS = ("/v1/realtime", "/connection/websocket")
_IP = ("edge.ip",)


class Limits(Protocol):
    """Charges limits by name; `stylobate.rpc.limits.LimitsClient` does."""

    async def check(self, levels: Sequence[Any], subjects: Sequence[str]) -> Any:
        """Return an outcome with ``allowed``."""
        ...


class Doorkeeper:
    """Refuses upgrades with UpgradeRefusedError."""

    def __init__(self, settings: RealtimeSettings, limits: Limits | None) -> None:
        self._settings = settings
        self._limits = limits

    def check(self, head: bytes) -> UpgradeRequest:
        """Return the request of the head. In development a page under a stranger's name (DNS rebinding) opens nothing."""
        request = UpgradeRequest.parse(head)
        request.check(PATHS)
        is_development = self._settings.is_development
        if is_development and not self._settings.allowed_origins and not is_local_host(request.header("host")):
            raise UpgradeRefusedError(
                HTTPStatus.FORBIDDEN, "HOST_REFUSED", "In development the platform answers to names of this machine only."
            )
        request.check_origin(self._settings.allowed_origins, loopback=is_development)
        return request

    async def charge(self, address: str) -> None:
        """Charge the client's address by the rule that HTTP requests are charged by."""
        if self._limits is None:
            return
        headers: dict[str, str] = {}
        try:
            outcome = await self._limits.check(_IP, (limit_key(address),))
            if outcome.allowed:
                return
            headers |= {name.decode(): value.decode() for name, value in outcome.headers()}
            refusal: StylobateError = outcome.error()
        except StylobateError as error:  # nobody can say, and the rule's policy is to let nobody in then
            refusal = error
        if refusal.retry_after is not None:
            headers["retry-after"] = str(math.ceil(refusal.retry_after.total_seconds()))
        raise UpgradeRefusedError(HTTPStatus(refusal.http_status), refusal.reason, refusal.detail, headers)
