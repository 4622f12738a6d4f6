"""What a principal may do: decided by auth, remembered here for a few seconds.

A decision is fresh for 10 s and ends at once when roles or grants change (the access version of the deny-list stream). While
auth does not answer, a decision that nothing has contradicted is used for up to ten minutes.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc

from stylobate.api.auth.v1.access_service_pb2 import AccessCheck, CheckAccessRequest, CheckAccessResponse, ListGrantedRequest
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.batching import Batcher
from stylobate.errors import StylobateError, UnavailableError
from stylobate.identity.kept_decisions import KeptDecisions
from stylobate.identity.principal import Principal
from stylobate.identity.resources import NOTHING, Granted, GrantedTooManyError
from stylobate.identity.verifier import TokenVerifier
from stylobate.telemetry.traceparent import trace_of

_CALL_TIMEOUT_S = 2.0
_RETRY_AFTER = timedelta(seconds=1)
_UNANSWERED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
_MOST_IN_ALL = 10_000
"""Resources of one permission that a list is made of, put together from several answers of auth."""


class Decision(NamedTuple):
    """What auth says."""

    is_allowed: bool = False
    """Whether the permission is held everywhere; to a question with a resource, whether it is held there."""
    granted: Granted = NOTHING
    """Where it is not, on what it is granted."""
    has_more: bool = False
    """Whether it is granted on more than that."""


_UNKNOWN = (Decision(), -inf)
_Question = tuple[str, str, str, str]
"""Tenant, subject, permission, resource or nothing."""


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
        self._decisions: KeptDecisions[_Question, Decision] = KeptDecisions(lambda decision: len(decision.granted.names))
        self._generation = 0
        self._trace = trace
        self._batcher: Batcher[tuple[_Question, str], Decision] = Batcher(self._check)
        verifier.on_change(self._forget)

    async def __aenter__(self) -> Self:
        """Make it usable."""
        await self._batcher.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Finish the questions under way."""
        await self._batcher.__aexit__(kind, error, trace)

    def known(self, principal: Principal, permission: str, resource: str = "") -> bool | None:
        """Return the same as :meth:`allowed` where nobody need be asked; None: somebody must."""
        if principal.is_anonymous:
            return False
        if principal.is_service and not principal.act_for:
            return True
        if not principal.lends(permission):
            return False
        decision = self._fresh((principal.tenant, principal.subject, permission, ""))
        if decision is not None and resource and decision.granted.names:  # not held everywhere
            if decision.granted.covers(resource):
                return True
            if decision.has_more:
                decision = self._fresh((principal.tenant, principal.subject, permission, resource))
        return None if decision is None else decision.is_allowed

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Return whether the principal's subject holds the permission, everywhere or by a grant on the resource.

        Nobody anonymous does; a service in its own name does; scopes of a token or key narrow what the subject holds.

        :param resource: what it is about, :mod:`stylobate.identity.resources`; empty: anything, so no grant is enough.
        :raises UnavailableError: auth does not answer and nothing is known of the subject.
        """
        fresh = self.known(principal, permission, resource)
        if fresh is not None:
            return fresh
        decision = await self._decided((principal.tenant, principal.subject, permission, ""))
        if resource and decision.granted:
            if decision.granted.covers(resource):
                return True
            if decision.has_more:
                decision = await self._decided((principal.tenant, principal.subject, permission, resource))
        return decision.is_allowed

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:
        """Return on what the principal is granted a permission, for lists of just that; what it holds everywhere does not count.

        :param under: at least what lies in this prefix; empty: all.
        :raises GrantedTooManyError: that is too much for a list. :raises UnavailableError: as for :meth:`allowed`.
        """
        if principal.is_anonymous or (principal.is_service and not principal.act_for) or not principal.lends(permission):
            return NOTHING
        decision = await self._decided((principal.tenant, principal.subject, permission, ""))
        if not decision.has_more:
            return decision.granted
        found: list[str] = []
        request = ListGrantedRequest(tenant=principal.tenant, subject=principal.subject, permission=permission, under=under)
        while True:
            try:
                page = await self._stub.ListGranted(request, timeout=_CALL_TIMEOUT_S)
            except StylobateError as error:
                raise _unanswered(error) from error
            found += page.resources
            if len(found) > _MOST_IN_ALL:
                raise GrantedTooManyError
            if not page.next_page_token:
                return Granted(frozenset(found))
            request.page_token = page.next_page_token

    def _fresh(self, question: _Question) -> Decision | None:
        decision, decided_at = self._decisions.get(question, _UNKNOWN)
        return decision if self._clock() - decided_at < self._fresh_s else None

    async def _decided(self, question: _Question) -> Decision:
        fresh = self._fresh(question)
        if fresh is not None:
            return fresh
        known, decided_at = self._decisions.get(question, _UNKNOWN)
        generation = self._generation
        try:
            decision = await self._batcher.submit((question, self._trace()))
        except UnavailableError:
            if generation == self._generation and self._clock() - decided_at < self._usable_s:
                return known
            raise
        if generation == self._generation:  # else roles or grants changed while the question was under way
            self._decisions.put(question, (decision, self._clock()))
        return decision

    async def _check(self, questions: list[tuple[_Question, str]]) -> Sequence[Decision | Exception]:
        checks = [
            AccessCheck(tenant=tenant, subject=subject, permission=asked, resource=resource)
            for (tenant, subject, asked, resource), _ in questions
        ]
        try:
            response = await self._stub.CheckAccess(
                CheckAccessRequest(checks=checks), timeout=_CALL_TIMEOUT_S, metadata=trace_of(trace for _, trace in questions)
            )
        except StylobateError as error:
            return [_unanswered(error)] * len(questions)
        return _decisions_of(response)

    def _forget(self) -> None:
        self._generation += 1
        self._decisions.clear()


def _decisions_of(response: CheckAccessResponse) -> list[Decision]:
    """Return what an answer says; one of a release before grants says nothing of these."""
    granted = response.granted or [None] * len(response.allowed)
    return [
        Decision(allowed, Granted(frozenset(found.resources)), found.more)
        if found is not None and found.resources
        else Decision(allowed)
        for allowed, found in zip(response.allowed, granted, strict=True)
    ]


def _unanswered(error: StylobateError) -> StylobateError:
    if error.code not in _UNANSWERED:
        return error
    return UnavailableError("Permissions cannot be checked at the moment.", retry_after=_RETRY_AFTER)
