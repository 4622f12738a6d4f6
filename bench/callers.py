"""Callers whose tokens were verified before: what the interceptors are given in benchmarks inside one process."""

from typing import Any

from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.resources import NOTHING, Granted

TOKEN = "e" * 300
USER = Principal(kind=PrincipalKind.USER, id="0192f3a0-0000-7000-8000-000000000000")


class Users:
    """Knows one user, as TokenVerifier does who has verified the token."""

    def cached(self, token: str) -> Principal | None:
        """Return who it is."""
        return USER if token == TOKEN else None

    async def verify(self, token: str) -> Principal:  # noqa: ARG002  only the one is ever shown
        """Return who it is."""
        return USER


class Services:
    """Keeps what was verified, as ServiceIdentity does."""

    def __init__(self) -> None:
        self._token = "s" * 300

    def token(self) -> str:
        """Return this service's token."""
        return self._token

    def verify(self, token: str, audiences: Any = ()) -> str:  # noqa: ARG002  for every service
        """Return whose it is."""
        return "gateway" if token == self._token else ""


class Nobody:
    """Grants no permission: none is asked for."""

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:  # noqa: ARG002
        """Say no."""
        return False

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:  # noqa: ARG002
        """Nothing, to nobody."""
        return NOTHING
