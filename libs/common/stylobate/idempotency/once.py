"""Carrying out a call once for its idempotency key."""

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import Message

from stylobate.errors import IdempotencyInProgressError, InvalidInputError, StylobateError, Violation
from stylobate.idempotency.errors import IdempotencyKeyReusedError, KeyTakenError
from stylobate.idempotency.port import Claim, IdempotencyLedger
from stylobate.identity.principal import Principal
from stylobate.resilience import prune_forever

R = TypeVar("R")
M = TypeVar("M", bound=Message)
LIFETIME = timedelta(hours=24)
_LONGEST = 255
_NONCE = 12


class Idempotency:
    """Answers calls that come again with their key. A call without one costs a look at a field.

    Only changes are kept: what was refused or failed changed nothing, and is tried anew.
    """

    def __init__(
        self,
        ledger: IdempotencyLedger[Any],
        clock: Callable[[], datetime],
        *,
        secret: bytes = b"",
        lifetime: timedelta = LIFETIME,
    ) -> None:
        """Keep the parts.

        :param clock: the time in UTC.
        :param secret: for requests and answers that hold secrets: hashes are keyed with it, and an answer can be read by nobody
            who has not both this and the request. Empty: answers are kept as they are.
        :param lifetime: how long an answer is kept.
        """
        self._ledger = ledger
        self._clock = clock
        self._secret = secret
        self._lifetime = lifetime

    async def once(
        self,
        request: Any,
        principal: Principal,
        kind: type[M],
        work: Callable[[Claim | None], Awaitable[R]],
        to: Callable[[R], M],
    ) -> M:
        """Return the response to the work's result, or to that of the first call with the request's key.

        :param request: a message with the field ``idempotency_key``.
        :param work: makes the change; with a claim, it takes it and writes its answer in the transaction of the change.
        :param to: makes the response, a message of ``kind``, from the result.
        :raises IdempotencyKeyReusedError: the key was sent with another request.
        :raises IdempotencyInProgressError: another call with the key is under way.
        """
        if not request.idempotency_key:
            return to(await work(None))
        if not _is_plain(request.idempotency_key):
            detail = f"must be at most {_LONGEST} printable characters of ASCII"
            raise InvalidInputError(violations=[Violation("/idempotency_key", detail)])
        bare = type(request)()
        bare.CopyFrom(request)
        bare.ClearField("idempotency_key")
        content = bare.SerializeToString(deterministic=True)
        now = self._clock()
        claim = Claim(
            tenant=principal.tenant,
            caller=f"{principal.via}/{principal.subject}",
            method=request.DESCRIPTOR.full_name.removesuffix("Request"),
            key=request.idempotency_key,
            request=self._digest(b"request", content),
            at=now,
            expires_at=now + self._lifetime,
            encode=lambda result: self._sealed(to(result).SerializeToString(deterministic=True), content),
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
        if not hmac.compare_digest(found.request, claim.request):
            raise IdempotencyKeyReusedError
        return kind.FromString(self._opened(found.answer, content))

    async def run(self) -> None:
        """Remove answers that expired, forever."""
        await prune_forever(lambda: self._ledger.prune(self._clock()))

    def _sealed(self, answer: bytes, content: bytes) -> bytes:
        if not self._secret:
            return answer
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._digest(b"answer", content)).encrypt(nonce, answer, None)

    def _opened(self, answer: bytes, content: bytes) -> bytes:
        if not self._secret:
            return answer
        return AESGCM(self._digest(b"answer", content)).decrypt(answer[:_NONCE], answer[_NONCE:], None)

    def _digest(self, purpose: bytes, content: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + content, hashlib.sha256)


def refuse_key(request: Any) -> None:
    """Refuse a call that relies on a key where none is carried out yet."""
    if request.idempotency_key:
        raise InvalidInputError(violations=[Violation("/idempotency_key", "is not carried out for this method yet")])


def _is_plain(key: str) -> bool:
    return len(key) <= _LONGEST and key.isascii() and key.isprintable()
