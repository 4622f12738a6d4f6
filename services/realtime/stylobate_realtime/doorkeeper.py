"""Who may open a socket: what is checked and charged before the upgrade is answered."""

from stylobate.clients.edge import Edge
from stylobate.http.errors import HostRefusedError
from stylobate.http.own_host import is_local_host
from stylobate.identity.api_key import is_api_key
from stylobate.identity.session_cookie import access_cookie

from stylobate_realtime.settings import RealtimeSettings
from stylobate_realtime.wire.handshake import UpgradeRequest

PATHS = ("/v1/realtime", "/connection/websocket")


class Doorkeeper:
    """Refuses upgrades. Raises StylobateError."""

    def __init__(self, settings: RealtimeSettings, edge: Edge) -> None:
        self._settings = settings
        self._edge = edge
        self._cookie = access_cookie(is_secure=not settings.is_development)

    def check(self, request: UpgradeRequest) -> None:
        """Return when it may be charged. In development a page under a stranger's name (DNS rebinding) opens nothing."""
        request.check(PATHS)
        is_development = self._settings.is_development
        if is_development and not self._settings.allowed_origins and not is_local_host(request.header("host")):
            raise HostRefusedError
        request.check_origin(self._settings.allowed_origins, loopback=is_development)

    def credential(self, request: UpgradeRequest) -> tuple[str, bool]:
        """Return the token or API key that came with a request that was checked, and whether a cookie held it.

        The cookie of a browser's session counts where nothing else came, from a page whose origin was let in by name: not where
        pages of all origins are, since it comes with whatever page asks. Raises ApiKeyInvalidError for two credentials.
        """
        found = request.credential
        if found or "origin" not in request.headers or "*" in self._settings.allowed_origins:
            return found, False
        held = request.cookie(self._cookie)
        return ("", False) if is_api_key(held) else (held, bool(held))

    async def charge(self, address: str) -> None:
        """Charge the client's address, unless it is banned, by the rule that HTTP requests are charged by.

        When nobody can say, nobody is let in.
        """
        await self._edge.charge(address)
