"""What a principal may do: decided by auth, remembered here for a few seconds.

A decision is fresh for 10 s and ends at once when roles change (the access version of the deny-list stream). While auth
does not answer, a decision that nothing has contradicted is used for up to ten minutes.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import timedelta
from itertools import islice
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc

from stylobate.api.auth.v1.access_service_pb2 import AccessCheck, CheckAccessRequest
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.batching import Batcher
from stylobate.errors import StylobateError, UnavailableError
from stylobate.identity.permission import grants
from stylobate.identity.principal import Principal
from stylobate.identity.verifier import TokenVerifier
from stylobate.telemetry.traceparent import trace_of

_CALL_TIMEOUT_S = 2.0
_CACHE_SIZE = 50_000
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class _Question(NamedTuple):
    tenant: str
    subject: str
    permission: str


class _Decision(NamedTuple):
    allowed: bool
    at: float


class Access:
    """Answers "may they?"; an async context manager (`async with Access(channel, verifier) as access`).

    :param channel: to auth, in this service's own name.
    :param verifier: tells when roles changed.
    :param clock: seconds, monotonic.
    :param trace: the traceparent of what asks, empty when its trace is not sampled.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        verifier: TokenVerifier,
        *,
        fresh: timedelta = timedelta(seconds=10),
        usable: timedelta = timedelta(minutes=10),
        clock: Callable[[], float] = monotonic,
        trace: Callable[[], str] = str,
    ) -> None:
        self._stub: Any = AccessServiceStub(channel)
        self._fresh_s = fresh.total_seconds()
        self._usable_s = usable.total_seconds()
        self._clock = clock
        self._decisions: dict[_Question, _Decision] = {}
        self._generation = 0
        self._trace = trace
        self._batcher: Batcher[tuple[_Question, str], bool] = Batcher(self._ask)
        verifier.on_change(self._forget)

    async def __aenter__(self) -> Self:
        """Make it usable."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the questions under way."""
        await self._batcher.__aexit__(kind, error, trace)

    async def allowed(self, principal: Principal, permission: str) -> bool:
        """Return whether the principal's subject holds the permission.

        Nobody anonymous does; a service in its own name does; scopes in the token narrow what the subject holds.

        :raises UnavailableError: auth does not answer and nothing is known of the subject.
        """
        if principal.is_anonymous:
            return False
        if principal.is_service and not principal.act_for:
            return True
        if principal.scopes and not grants(principal.scopes, permission):
            return False
        question = _Question(principal.tenant, principal.subject, permission)
        known = self._decisions.get(question)
        if known is not None and self._clock() - known.at < self._fresh_s:
            return known.allowed
        generation = self._generation
        try:
            allowed = await self._batcher.submit((question, self._trace()))
        except UnavailableError:
            if known is not None and generation == self._generation and self._clock() - known.at < self._usable_s:
                return known.allowed
            raise
        if generation == self._generation:  # else roles changed while the question was under way
            self._remember(question, allowed)
        return allowed

    async def _ask(self, questions: list[tuple[_Question, str]]) -> Sequence[bool | Exception]:
        # In a context of its own: a batch serves many callers and is asked in the service's name, not in that of
        # whichever caller's token happened to be first.
        return await asyncio.create_task(self._check(questions), context=Context())

    async def _check(self, questions: list[tuple[_Question, str]]) -> Sequence[bool | Exception]:
        checks = [AccessCheck(tenant=q.tenant, subject=q.subject, permission=q.permission) for q, _ in questions]
        try:
            response = await self._stub.CheckAccess(
                CheckAccessRequest(checks=checks), timeout=_CALL_TIMEOUT_S, metadata=trace_of(trace for _, trace in questions)
            )
        except (grpc.aio.AioRpcError, StylobateError) as error:
            return [_answer_of(error)] * len(questions)
        return list(response.allowed)

    def _remember(self, question: _Question, allowed: bool) -> None:
        if len(self._decisions) >= _CACHE_SIZE:
            for old in list(islice(self._decisions, _CACHE_SIZE // 8)):
                del self._decisions[old]
        self._decisions.pop(question, None)  # the order is by age
        self._decisions[question] = _Decision(allowed, self._clock())

    def _forget(self) -> None:
        self._generation += 1
        self._decisions.clear()


def _answer_of(error: grpc.aio.AioRpcError | StylobateError) -> Exception:
    code = error.code if isinstance(error, StylobateError) else error.code()
    if code in _UNANSWERED:
        return UnavailableError("Permissions cannot be checked at the moment.", retry_after=timedelta(seconds=1))
    return error
