"""Carrying out a call once for its idempotency key."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from google.protobuf.message import Message

from stylobate.errors import IdempotencyInProgressError, InvalidInputError, StylobateError, Violation
from stylobate.idempotency.errors import IdempotencyKeyReusedError, KeyTakenError
from stylobate.idempotency.keeping import Keeping
from stylobate.idempotency.port import Claim, IdempotencyAnswers
from stylobate.identity.principal import Principal
from stylobate.resilience import prune_forever

R = TypeVar("R")
M = TypeVar("M", bound=Message)
LIFETIME = timedelta(hours=24)
_LONGEST = 255
_PLAIN = Keeping()
_STEP = "step"
_LONGEST_RUN = timedelta(hours=1)
"""How much longer than a run's own answer those of its steps are kept, so that a run never finds some of them gone."""


class Idempotency:
    """Answers calls that come again with their key. A call without one costs a look at a field.

    Only changes are kept: what was refused or failed changed nothing, and is tried anew.
    """

    def __init__(
        self,
        ledger: IdempotencyAnswers,
        clock: Callable[[], datetime],
        *,
        keeping: Keeping | None = None,
        lifetime: timedelta = LIFETIME,
    ) -> None:
        """Keep the parts.

        :param clock: the time in UTC.
        :param keeping: how those are kept that may hold secrets. None: as all others, with a hash without a key and as they are.
        :param lifetime: how long an answer is kept.
        """
        self._ledger = ledger
        self._clock = clock
        self.keeping = keeping or _PLAIN
        """May be exchanged for another one that knows the secret of the one before."""
        self._lifetime = lifetime

    async def once(
        self,
        request: Any,
        principal: Principal,
        kind: type[M],
        work: Callable[[Claim | None], Awaitable[R]],
        to: Callable[[R], M],
        *,
        target: str = "",
        apart: Sequence[str] = (),
        is_secret: bool = True,
    ) -> M:
        """Return the response to the work's result, or to that of the first call with the request's key: then it is ``replayed``.

        :param request: a message with the field ``idempotency_key``.
        :param target: names what would be changed. Of a step of a run (``idempotency_step``) this and the method alone are held
            against the first call.
        :param apart: fields that may be others than those of the first call.
        :param is_secret: whether the request or its answer may hold secrets.
        :param work: makes the change; with a claim, it takes it and writes its answer in the transaction of the change.
        :param to: makes the response, a message of ``kind``, from the result.
        :raises IdempotencyKeyReusedError: the key was sent with another request.
        :raises IdempotencyInProgressError: another call with the key is under way.
        :raises UnavailableError: what requests are hashed with is not at hand.
        """
        if not request.idempotency_key:
            return to(await work(None))
        check_key(request.idempotency_key)
        method, key, lifetime = request.DESCRIPTOR.full_name.removesuffix("Request"), request.idempotency_key, self._lifetime
        if target and request.idempotency_step:
            content = f"{method}\0{target}".encode()
            method, key, lifetime = _STEP, f"{key}/{request.idempotency_step}", lifetime + _LONGEST_RUN
        else:
            content = _without(request, "idempotency_key", *apart)
        keeping, now = await self.keeping.ready() if is_secret else _PLAIN, self._clock()
        claim = Claim(
            tenant=principal.tenant,
            caller=f"{principal.via}/{principal.subject}",
            method=method,
            key=key,
            request=keeping.requests(content)[0],
            at=now,
            expires_at=now + lifetime,
            encode=lambda result: keeping.sealed(to(result).SerializeToString(deterministic=True), content),
        )
        found = await self._ledger.find(claim)
        if found is None:
            try:
                return to(await work(claim))
            except (KeyTakenError, StylobateError) as error:  # the first call may have been done since we looked
                found = await self._ledger.find(claim)
                if found is None and isinstance(error, KeyTakenError):
                    raise IdempotencyInProgressError from error
                if found is None:
                    raise
        answer = keeping.opened(found.request, found.answer, content)
        if answer is None:
            raise IdempotencyKeyReusedError
        response: Any = kind.FromString(answer)
        response.replayed = True
        return response  # type: ignore[no-any-return]

    async def run(self) -> None:
        """Remove answers that expired, forever."""
        await prune_forever(lambda: self._ledger.prune(self._clock()))


def _without(request: Message, *names: str) -> bytes:
    bare = type(request)()
    bare.CopyFrom(request)
    for name in names:
        bare.ClearField(name)
    return bare.SerializeToString(deterministic=True)


def check_key(key: str) -> None:
    """Raise InvalidInputError for a key that cannot be kept."""
    if len(key) > _LONGEST or not key.isascii() or not key.isprintable():
        detail = f"must be at most {_LONGEST} printable characters of ASCII"
        raise InvalidInputError(violations=[Violation("/idempotency_key", detail)])
