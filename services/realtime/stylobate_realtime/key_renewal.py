"""Sessions of API keys: a key has no refresh of its own, so auth is asked again about it before what it said is over."""

import asyncio
import time
from collections.abc import Callable

from stylobate.errors import StylobateError, UnauthenticatedError
from stylobate.identity import TokenVerifier
from stylobate.logs import get_logger
from stylobate.stopping import goes_on

from stylobate_realtime import codes
from stylobate_realtime.session import ClientSession
from stylobate_realtime.session_context import State

_log = get_logger("app")
_LOOK_S = 5.0
_BEFORE_S = 60.0
"""How long before its end an answer is asked for anew: while auth is away it is tried this often, and then the grace runs."""


class KeyRenewal:
    """Keeps sessions of keys; :meth:`run` must run.

    :param clock: seconds, monotonic, of the sessions. :param now: Unix seconds.
    """

    def __init__(self, verifier: TokenVerifier, clock: Callable[[], float], now: Callable[[], float] = time.time) -> None:
        self._verifier = verifier
        self._clock = clock
        self._now = now
        self._sessions: set[ClientSession] = set()

    def add(self, session: ClientSession) -> None:
        """Take in a connected session."""
        self._sessions.add(session)

    async def run(self) -> None:
        """Look through them from time to time. Forever."""
        while goes_on():
            await asyncio.sleep(_LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Have those proven again whose answer is about to end; close those whose key does not hold any more."""
        self._sessions = {session for session in self._sessions if session.state is State.CONNECTED}
        for session in tuple(self._sessions):
            if session.principal.sends_key and session.principal.expires_at - self._now() < _BEFORE_S:
                await self._renew(session)

    async def _renew(self, session: ClientSession) -> None:
        try:
            principal = await self._verifier.renew(session.token)
        except UnauthenticatedError:
            session.end(codes.INVALID_TOKEN)
        except StylobateError:
            _log.debug("api_key_not_renewed", client=session.client)
        else:
            if session.state is State.CONNECTED:
                session.authenticated(principal, session.token, self._clock() + principal.expires_at - self._now())
