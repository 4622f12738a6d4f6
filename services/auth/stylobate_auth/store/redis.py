"""Copies of sessions in Valkey or Redis. Keys hold session ids, which are not secrets; values hold no token."""

from collections.abc import Callable
from datetime import datetime
from math import ceil

import msgspec
from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis import RedisManager

from stylobate_auth.model import Session

_LONGEST_S = 3600
_log = get_logger("app")
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Session)


class RedisSessionCopies:
    """The port in Redis. A copy lives for an hour at most, and never longer than its session.

    :param clock: the time in UTC.
    """

    def __init__(self, redis: RedisManager, clock: Callable[[], datetime]) -> None:
        self._redis = redis
        self._clock = clock

    async def get(self, tenant: str, session_id: str) -> Session | None:
        try:
            data = await self._redis.call("GET", _key(tenant, session_id))
        except RedisUnavailableError as error:
            _log.debug("session_copy_not_read", error=str(error))
            return None
        try:
            return None if not isinstance(data, bytes) else _decoder.decode(data)
        except msgspec.MsgspecError:  # of another release; it goes away by itself
            return None

    async def put(self, session: Session) -> None:
        await self._set(session)

    async def add(self, session: Session) -> None:
        await self._set(session, "NX")

    async def _set(self, session: Session, *options: str) -> None:
        seconds = min(_LONGEST_S, ceil((session.expires_at - self._clock()).total_seconds()))
        if seconds <= 0:
            return
        try:
            await self._redis.call("SET", _key(session.tenant, session.id), _encode(session), "EX", seconds, *options)
        except RedisUnavailableError as error:
            _log.debug("session_copy_not_written", error=str(error))


def _key(tenant: str, session_id: str) -> str:
    return f"auth:session:{tenant}:{session_id}"
