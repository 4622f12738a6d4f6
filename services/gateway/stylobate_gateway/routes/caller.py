"""Who calls a route."""

from typing import Any

from fastapi import Depends, Request
from stylobate.errors import UnauthenticatedError

from stylobate_gateway.exchange import exchange_of


async def _check(request: Request) -> None:
    if exchange_of(request.scope).principal.is_anonymous:
        raise UnauthenticatedError


NEEDS_TOKEN: Any = Depends(_check)
"""For a route that answers only to who is known."""
