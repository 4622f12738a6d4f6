"""Sessions of API keys: a key has no refresh of its own, so auth is asked again about it before what it said is over."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

from stylobate.errors import StylobateError, UnauthenticatedError
from stylobate.identity.verifier import TokenVerifier
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
        self._changed: set[tuple[str, str]] = set()
        """Tenant and id of keys that auth is to be asked about now."""
        self._wakes = asyncio.Event()
        verifier.on_key_changed(self.doubt)

    def add(self, session: ClientSession) -> None:
        """Take in a connected session."""
        self._sessions.add(session)

    @property
    def doubts(self) -> int:
        """How many keys are to be proven again at the next look, whenever they end."""
        return len(self._changed)

    def doubt(self, tenant: str, key_id: str) -> None:
        """Have a key proven again: it changed."""
        self._changed.add((tenant, key_id))
        self._wakes.set()

    async def run(self) -> None:
        """Look through them from time to time, and when a key changed. Forever."""
        while goes_on():
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._wakes.wait()
            self._wakes.clear()
            await self.look()

    async def look(self) -> None:
        """Have those proven again that changed or whose answer is about to end; close those whose key does not hold any more."""
        self._sessions = {session for session in self._sessions if session.state is State.CONNECTED}
        changed, self._changed = self._changed, set()
        for session in tuple(self._sessions):
            who = session.principal
            key = who.tenant, who.token_id
            is_due = key in changed or who.expires_at - self._now() < _BEFORE_S
            if who.sends_key and is_due and not await self._renew(session) and key in changed:
                self._changed.add(key)

    async def _renew(self, session: ClientSession) -> bool:
        """Return whether auth answered."""
        try:
            principal = await self._verifier.renew(session.token)
        except UnauthenticatedError:
            session.end(codes.INVALID_TOKEN)
        except StylobateError:
            _log.debug("api_key_not_renewed", client=session.client)
            return False
        else:
            if session.state is State.CONNECTED:
                session.authenticated(principal, session.token, self._clock() + principal.expires_at - self._now())
        return True
