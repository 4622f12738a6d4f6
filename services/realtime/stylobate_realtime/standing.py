"""Whether connected sessions still may be what they are: revocations, bans, withdrawn keys, changed roles."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress

from stylobate.clients.bans import BanList
from stylobate.errors import StylobateError, TokenExpiredError, UnauthenticatedError, UnavailableError
from stylobate.identity.verifier import TokenVerifier
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

from stylobate_realtime import codes
from stylobate_realtime.session import ClientSession

_log = get_logger("app")
_SLICE = 1000
"""Sessions looked through before the loop gets its turn."""
_LOOKS_S = (0.0, 0.5, 1.2, 11.0)
"""When rights are asked for after roles changed: at once; when the others have heard of it too, for one may have answered by what
it knew before; when they must have, which is within a second; and when that has come to one whose stream was cut."""
_REST_S = 0.5
"""Between two looks at least, however often roles change."""


class Standing:
    """Looks through the sessions whenever something was revoked or changed; both ``run_`` methods must run.

    :param doubt: has the rights of a session asked for again.
    """

    def __init__(
        self,
        sessions: Collection[ClientSession],
        verifier: TokenVerifier,
        bans: BanList,
        doubt: Callable[[ClientSession], None],
    ) -> None:
        self._sessions = sessions
        self._verifier = verifier
        self._bans = bans
        self._doubt = doubt
        self._revoked = asyncio.Event()
        self._has_lost_keys = False
        self._changed = asyncio.Event()
        verifier.on_revocation(self._revoked.set)
        verifier.on_keys_lost(self._lose_keys)
        bans.on_added.append(self._revoked.set)
        verifier.on_change(self.change)

    def change(self) -> None:
        """Have all rights asked for again: roles or what they mean have changed, or something may have been missed."""
        self._changed.set()

    async def run_revocations(self) -> None:
        """Whenever somebody may have been revoked or banned, close the sessions that no longer may be. Forever."""
        while goes_on():
            await self._revoked.wait()
            self._revoked.clear()
            await self.close_revoked()
            if self._has_lost_keys:
                self._has_lost_keys = False
                await self._close_unproven()

    async def run_changes(self) -> None:
        """Whenever roles have changed, have the rights of all sessions asked for again. Forever."""
        loop = asyncio.get_running_loop()
        due: list[float] = []
        while goes_on():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due[0] if due else None):
                    await self._changed.wait()
            if self._changed.is_set():
                self._changed.clear()
                due = [loop.time() + look for look in _LOOKS_S]
                continue
            due.pop(0)
            await self.doubt_all()
            await asyncio.sleep(_REST_S)

    async def close_revoked(self) -> None:
        """Close every session whose token, session or subject was revoked, also one that outlives its token, or banned."""
        has_bans = len(self._bans) > 0
        for number, session in enumerate(tuple(self._sessions), 1):
            if session.client and self._verifier.is_revoked(session.principal):
                session.end(codes.INVALID_TOKEN)
            elif has_bans and self._bans.find(session.address, session.principal) is not None:
                session.end(codes.BANNED)
            if not number % _SLICE:
                await asyncio.sleep(0)

    async def doubt_all(self) -> None:
        """Have the rights of every session asked for again."""
        for number, session in enumerate(tuple(self._sessions), 1):
            self._doubt(session)
            if not number % _SLICE:
                await asyncio.sleep(0)

    def _lose_keys(self) -> None:
        self._has_lost_keys = True
        self._revoked.set()

    async def _close_unproven(self) -> None:
        """Close every session whose token was proven by a key that counts no more."""
        for session in tuple(self._sessions):
            if session.client and await self._is_unproven(session.token):
                session.end(codes.INVALID_TOKEN)

    async def _is_unproven(self, token: str) -> bool:
        try:
            await self._verifier.verify(token)
        except (TokenExpiredError, UnavailableError):
            return False  # expiry has its own deadline; and what cannot be told is not held against it
        except UnauthenticatedError:
            return True
        except StylobateError:
            _log.exception("token_not_proven")
        return False
