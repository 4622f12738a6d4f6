"""Reading one object, by whichever way it is asked for: the question to the state service and what its answer is over HTTP."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import grpc.aio
import orjson
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.clients.state import StateNotFoundError
from stylobate.errors import StylobateError
from stylobate.rpc.caller import asking

from stylobate_gateway.routes.preconditions import Preconditions
from stylobate_gateway.state_documents import object_document


class Answer(NamedTuple):
    """What is answered to a read."""

    headers: dict[str, str]
    """In lower case, but for the type and the length."""
    content: bytes | None
    """JSON; None: the reader has it (304)."""


class StateReads:
    """Reads objects over a channel to state."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._get_state = asking(StateServiceStub(channel).GetState)

    async def answer(self, given: Preconditions, *, is_cached: bool) -> Answer:
        """Return the answer to a read of the object as it is, or was a moment ago.

        :raises StylobateError: 404, 412, or what the state service refuses with.
        """
        consistency = state.CONSISTENCY_CACHED if is_cached else state.CONSISTENCY_STRONG
        response = await self._ask(given.namespace, given.key, consistency)
        if not response.states:
            raise StateNotFoundError(given.namespace, given.key)
        found = response.states[0]
        used = {"cache-status": _cache_status(response.cache)} if is_cached else {}
        if given.is_unchanged(found.version):
            return Answer(given.unchanged(found.version) | used, None)
        return Answer({"etag": f'"{found.version}"', **used}, orjson.dumps(object_document(found)))

    async def find(self, namespace: str, key: str) -> state.State | None:
        """Return an object as it is; None: there is none. Raises StylobateError."""
        return next(iter((await self._ask(namespace, key, state.CONSISTENCY_STRONG)).states), None)

    async def present(self, namespace: str, key: str) -> state.State:
        """Return an object as it is. Raises StateNotFoundError, and what the state service refuses with."""
        found = await self.find(namespace, key)
        if found is None:
            raise StateNotFoundError(namespace, key)
        return found

    async def _ask(self, namespace: str, key: str, consistency: state.Consistency.ValueType) -> state.GetStateResponse:
        try:
            response: state.GetStateResponse = await self._get_state(_request(namespace, key, consistency))
        except StylobateError as error:  # it stands in the path, not in a list
            place(error, lambda pointer: pointer.removeprefix("/keys/0"))
            raise
        return response


@lru_cache(maxsize=4096)
def _request(namespace: str, key: str, consistency: state.Consistency.ValueType) -> state.GetStateRequest:
    """Return the question, which nobody changes: what is read is read again."""
    return state.GetStateRequest(keys=[state.StateKey(namespace=namespace, key=key)], consistency=consistency)


def place(error: StylobateError, placed: Callable[[str], str]) -> None:
    """Name the places that the state service found wrong as the caller wrote them."""
    error.violations = tuple(replace(found, pointer=placed(found.pointer)) for found in error.violations)


def _cache_status(use: state.CacheUse) -> str:
    """Return the field of RFC 9211; its `ttl` says for how long it has not been known whether a copy is the newest."""
    if not use.hits:
        return "state; fwd=miss"
    return f"state; hit; ttl=-{use.stale.ToTimedelta().total_seconds():.0f}" if use.HasField("stale") else "state; hit"
