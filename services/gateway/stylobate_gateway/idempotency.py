"""Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a change that is sent again happens once.

The key goes on to the service that makes the change, which keeps the answer in the transaction of it. Here the request is sent
again while the first one with its key is under way, and the answer says whether it is that of an earlier request.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Annotated, Any, Protocol, TypeVar

from fastapi import Depends, Header, Request
from pydantic.json_schema import SkipJsonSchema
from stylobate.errors import IdempotencyInProgressError, StylobateError

from stylobate_gateway.errors import InvalidHeaderError
from stylobate_gateway.exchange import Exchange

NAME = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_FIELD = NAME.lower().encode()
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_KEY = re.compile(rb'"([ !#-\[\]-~]{1,255})"|([!#-+\--\[\]-~]{1,255})')
FORM = {"pattern": r'^("[ !#-\[\]-~]{1,255}"|[!#-+\--\[\]-~]{1,255})$'}
"""JSON Schema of the header: a string of RFC 9651, also without its quotes, as most clients send it."""
DESCRIPTION = "Chosen for this one change, such as a UUID: sent again with it, the first answer comes again for 24 hours."
_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""3 s in all, for changes that take milliseconds."""
_RETRY_AFTER = timedelta(seconds=1)


class _Response(Protocol):
    replayed: bool


R = TypeVar("R", bound=_Response)


def has_key(exchange: Exchange) -> bool:
    """Return whether the request has a key, in whatever form. One that changes nothing may be sent again without."""
    return _FIELD in exchange.headers and exchange.method not in _SAFE


def key_of(exchange: Exchange) -> str:
    """Return the key of a request that has one. Raises InvalidHeaderError."""
    found = _KEY.fullmatch(exchange.headers[_FIELD])
    if found is None:
        raise InvalidHeaderError(f"{NAME} must be one to 255 printable characters of ASCII without a comma, or a quoted string.")
    return (found[1] or found[2]).decode()


async def answered(
    exchange: Exchange, ask: Callable[[Any], Awaitable[R]], request: Any, pauses_s: Iterable[float] = _PAUSES_S
) -> R:
    """Return a service's answer to a change, with the key of the HTTP request if it has one.

    :param request: a message with the field ``idempotency_key``.
    :param pauses_s: between requests while the first one with the key is under way; then it is for the client to come again.
    :raises StylobateError: INVALID_HEADER, IDEMPOTENCY_KEY_REUSED, IDEMPOTENCY_IN_PROGRESS, or what the change is refused with.
    """
    if not has_key(exchange):
        return await ask(request)
    request.idempotency_key = key_of(exchange)
    pauses = iter(pauses_s)
    while True:
        try:
            response = await ask(request)
        except StylobateError as error:
            if error.reason != IdempotencyInProgressError.reason:
                raise
            if (pause_s := next(pauses, None)) is None:
                error.retry_after = _RETRY_AFTER
                raise
        else:
            exchange.is_replayed = response.replayed
            return response
        await asyncio.sleep(pause_s)


_Text = str | SkipJsonSchema[None]


async def changing(
    request: Request,
    idempotency_key: Annotated[_Text, Header(alias=NAME, description=DESCRIPTION, json_schema_extra=FORM)] = None,
) -> Exchange:
    """Return the exchange of a route that changes something and takes a key."""
    del idempotency_key  # for the document: it may come in several lines
    exchange: Exchange = request.scope["stylobate"]
    return exchange


Changing = Annotated[Exchange, Depends(changing)]
"""The exchange, in a route that changes something and takes a key."""
