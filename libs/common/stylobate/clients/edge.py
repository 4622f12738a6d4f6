"""The edge of gRPC: who calls without a service's token is charged as the gateway charges a request, by the same rules."""

from stylobate.clients.limits import LevelSpec, LimitsClient
from stylobate.identity.client_address import limit_key

_IP = (LevelSpec.of_rule("edge.ip"),)
_USER = (LevelSpec.of_rule("edge.user"),)
_BOTH = (*_IP, *_USER)


class Edge:
    """Charges addresses and users on ``edge.ip`` and ``edge.user``. Raises RateLimitedError where one calls too often."""

    def __init__(self, limits: LimitsClient) -> None:
        self._limits = limits

    async def charge_address(self, address: str) -> None:
        """Charge where a call comes from, before anything about it is verified."""
        await self._charge(_IP, (limit_key(address),))

    async def charge_user(self, user: str) -> None:
        """Charge a user whose address was charged before the token was verified."""
        await self._charge(_USER, (user,))

    async def charge_both(self, address: str, user: str) -> None:
        """Charge a user whose token was verified before, in one go."""
        await self._charge(_BOTH, (limit_key(address), user))

    async def _charge(self, levels: tuple[LevelSpec, ...], subjects: tuple[str, ...]) -> None:
        outcome = await self._limits.check(levels, subjects)
        if not outcome.allowed:
            raise outcome.error()
