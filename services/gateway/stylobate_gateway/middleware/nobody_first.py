"""Who may not ask at all is told so, before anything is said about the form of the request."""

from collections.abc import Awaitable
from typing import Any

import grpc
import grpc.aio
from stylobate.api.state.v1 import state_service_pb2 as state
from stylobate.api.state.v1.state_service_pb2_grpc import StateServiceStub
from stylobate.errors import StylobateError, UnauthenticatedError
from stylobate.http.asgi import Application, Receive, Scope, Send

from stylobate_gateway.exchange import exchange_of

_NEEDS_A_TOKEN = frozenset({"/v1/auth/logout", "/v1/auth/me", "/v1/modules"})
_STATE = "/v1/state/"
_OF_FORM = frozenset({400, 415, 422})
_NEVER = 2**63 - 1
"""A version that no object reaches: a change that expects it is judged and never made."""


class NobodyFirst:
    """Answers 401 instead of what a request without a token is refused with for its form, where a token is needed.

    Whether it is depends on the namespace for state objects, and the state service knows: it is asked for the same, in a form
    that changes nothing. That costs a call only for what is refused anyway.
    """

    def __init__(self, app: Application, channel: grpc.aio.Channel) -> None:
        self._inner = app
        self._stub = StateServiceStub(channel)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        try:
            await self._inner(scope, receive, send)
        except StylobateError as error:
            exchange = exchange_of(scope)
            if exchange.principal.is_anonymous and not error.domain and error.http_status in _OF_FORM and not exchange.status:
                if exchange.path in _NEEDS_A_TOKEN:
                    raise UnauthenticatedError from None
                if exchange.path.startswith(_STATE):
                    await self._ask(exchange.method, exchange.path.removeprefix(_STATE).split("/"))
            raise

    async def _ask(self, method: str, place: list[str]) -> None:
        """Raise what the state service answers to the caller where that is 401."""
        namespace, key = place[0], place[1] if len(place) > 1 else ""
        try:
            await self._call(method, namespace, key, place[3] if len(place) == 4 else "")  # noqa: PLR2004  …/transitions/{event}
        except StylobateError as error:
            if error.code is grpc.StatusCode.UNAUTHENTICATED:
                raise

    def _call(self, method: str, namespace: str, key: str, event: str) -> Awaitable[Any]:
        named: Any = {"namespace": namespace, "key": key, "expected_version": _NEVER}
        match method:
            case "PUT":
                return self._stub.PutState(state.PutStateRequest(data=b"null", **named))
            case "PATCH":
                return self._stub.PatchState(state.PatchStateRequest(patch=b"null", **named))
            case "DELETE":
                return self._stub.DeleteState(state.DeleteStateRequest(**named))
            case "POST":
                return self._stub.TransitionState(state.TransitionStateRequest(event=event, **named))
            case _ if key:
                return self._stub.GetState(state.GetStateRequest(keys=[state.StateKey(namespace=namespace, key=key)]))
            case _:
                return self._stub.ListStates(state.ListStatesRequest(namespace=namespace, page_size=1))
