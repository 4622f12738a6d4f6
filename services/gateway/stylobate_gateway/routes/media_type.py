"""Which media types a route takes."""

from typing import Any

from fastapi import Depends, Request

from stylobate_gateway.errors import UnsupportedMediaTypeError
from stylobate_gateway.exchange import exchange_of


def takes(*media_types: str) -> Any:
    """Return a dependency that refuses a body of any other type (415); a request without a body needs none."""
    sentence = f"The body must be {' or '.join(media_types)}."

    async def check(request: Request) -> None:
        if exchange_of(request.scope).media_type not in media_types and await request.body():
            raise UnsupportedMediaTypeError(sentence)

    return Depends(check)
