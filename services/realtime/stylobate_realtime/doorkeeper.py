"""Who may open a socket: what is checked and charged before the upgrade is answered."""

from stylobate.clients.edge import Edge
from stylobate.http.errors import HostRefusedError
from stylobate.http.own_host import is_local_host

from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.wire.handshake import UpgradeRequest

PATHS = ("/v1/realtime", "/connection/websocket")


class Doorkeeper:
    """Refuses upgrades. Raises StylobateError."""

    def __init__(self, settings: RealtimeSettings, edge: Edge) -> None:
        self._settings = settings
        self._edge = edge

    def check(self, request: UpgradeRequest) -> None:
        """Return when it may be charged. In development a page under a stranger's name (DNS rebinding) opens nothing."""
        request.check(PATHS)
        is_development = self._settings.is_development
        if is_development and not self._settings.allowed_origins and not is_local_host(request.header("host")):
            raise HostRefusedError
        request.check_origin(self._settings.allowed_origins, loopback=is_development)

    async def charge(self, address: str) -> None:
        """Charge the client's address, unless it is banned, by the rule that HTTP requests are charged by.

        When nobody can say, nobody is let in.
        """
        await self._edge.charge(address)
