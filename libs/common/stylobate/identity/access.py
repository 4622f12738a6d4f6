"""What a principal may do: decided by auth, remembered here for a few seconds.

A decision is fresh for 10 s and ends at once when roles change (the access version of the deny-list stream). While auth
does not answer, a decision that nothing has contradicted is used for up to ten minutes.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any, Self

import grpc

from stylobate.api.auth.v1.access_service_pb2 import AccessCheck, CheckAccessRequest
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.batching import Batcher
from stylobate.bounded_dict import BoundedDict
from stylobate.errors import StylobateError, UnavailableError
from stylobate.identity.principal import Principal
from stylobate.identity.verifier import TokenVerifier
from stylobate.telemetry.traceparent import trace_of

_CALL_TIMEOUT_S = 2.0
_RETRY_AFTER = timedelta(seconds=1)
_CACHE_SIZE = 50_000
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


_UNKNOWN = (False, -inf)
_Question = tuple[str, str, str]
"""Tenant, subject, permission."""


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
        self._decisions: BoundedDict[_Question, tuple[bool, float]] = BoundedDict(_CACHE_SIZE)
        self._generation = 0
        self._trace = trace
        self._batcher: Batcher[tuple[_Question, str], bool] = Batcher(self._check)
        verifier.on_change(self._forget)

    async def __aenter__(self) -> Self:
        """Make it usable."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the questions under way."""
        await self._batcher.__aexit__(kind, error, trace)

    def known(self, principal: Principal, permission: str) -> bool | None:
        """Return the same as :meth:`allowed` where nobody need be asked; None: somebody must."""
        if principal.is_anonymous:
            return False
        if principal.is_service and not principal.act_for:
            return True
        if not principal.lends(permission):
            return False
        known, decided_at = self._decisions.get((principal.tenant, principal.subject, permission), _UNKNOWN)
        return known if self._clock() - decided_at < self._fresh_s else None

    async def allowed(self, principal: Principal, permission: str) -> bool:
        """Return whether the principal's subject holds the permission.

        Nobody anonymous does; a service in its own name does; scopes of a token or key narrow what the subject holds.

        :raises UnavailableError: auth does not answer and nothing is known of the subject.
        """
        fresh = self.known(principal, permission)
        if fresh is not None:
            return fresh
        question = (principal.tenant, principal.subject, permission)
        known, decided_at = self._decisions.get(question, _UNKNOWN)
        generation = self._generation
        try:
            allowed = await self._batcher.submit((question, self._trace()))
        except UnavailableError:
            if generation == self._generation and self._clock() - decided_at < self._usable_s:
                return known
            raise
        if generation == self._generation:  # else roles changed while the question was under way
            self._decisions.put(question, (allowed, self._clock()))
        return allowed

    async def _check(self, questions: list[tuple[_Question, str]]) -> Sequence[bool | Exception]:
        checks = [AccessCheck(tenant=tenant, subject=subject, permission=asked) for (tenant, subject, asked), _ in questions]
        try:
            response = await self._stub.CheckAccess(
                CheckAccessRequest(checks=checks), timeout=_CALL_TIMEOUT_S, metadata=trace_of(trace for _, trace in questions)
            )
        except StylobateError as error:
            if error.code not in _UNANSWERED:
                return [error] * len(questions)
            return [UnavailableError("Permissions cannot be checked at the moment.", retry_after=_RETRY_AFTER)] * len(questions)
        return list(response.allowed)

    def _forget(self) -> None:
        self._generation += 1
        self._decisions.clear()
