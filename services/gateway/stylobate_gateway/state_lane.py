"""Reads of one object with nothing unusual about them: which they are, and what is answered."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from stylobate.errors import StylobateError
from stylobate.http.asgi import Header

from stylobate_gateway.api import STATE, Api
from stylobate_gateway.errors import InvalidHeaderError
from stylobate_gateway.exchange import Exchange
from stylobate_gateway.head import Head
from stylobate_gateway.routes.preconditions import Preconditions
from stylobate_gateway.state_reads import Answer, StateReads

ROUTE = STATE + "{namespace}/{key}"
_TARGET = re.compile(
    rb"/v1/state/(?!transactions/)([A-Za-z0-9_.-]+)/(?!watch(?:[?]|\Z))([A-Za-z0-9_.~:@-]+)(?:[?]consistency=(cached|strong))?"
)


class Reading(NamedTuple):
    """A read of one object."""

    given: Preconditions
    is_cached: bool

    def again(self) -> "Reading":
        """Return the same read, asked for by another request with the same head."""
        given = self.given
        exchange = Exchange(given.exchange.head)
        return Reading(Preconditions(given.namespace, given.key, given.match, given.none_match, exchange), self.is_cached)


class StateLane:
    """Answers them as the route does."""

    def __init__(self, api: Api, reads: StateReads) -> None:
        self._api = api
        self._reads = reads

    @staticmethod
    def take(method: bytes, target: bytes, headers: Sequence[Header]) -> Reading | None:
        """Return what a GET or HEAD reads; None: it is unusual."""
        found = _TARGET.fullmatch(target)
        if found is None:
            return None
        path = target.partition(b"?")[0]
        exchange = Exchange(Head(method.decode("ascii"), path.decode("ascii"), path, headers))
        try:
            given = Preconditions.of(exchange, found[1].decode("ascii"), found[2].decode("ascii"))
        except InvalidHeaderError:  # who may not ask at all hears of that first
            return None
        return Reading(given, found[3] == b"cached") if not exchange.head.body_size else None

    async def answer(self, reading: Reading) -> Answer:
        """Return the answer to one that was admitted. Raises StylobateError."""
        exchange = reading.given.exchange
        exchange.route = ROUTE
        try:
            return await self._reads.answer(reading.given, is_cached=reading.is_cached)
        except StylobateError as error:
            await self._api.tell_nobody_first(error, exchange)
            raise
