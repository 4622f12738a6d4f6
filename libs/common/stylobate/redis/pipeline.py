"""The pipelined connection that all tasks of a process share, connected again and again when lost."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from stylobate.errors import RedisUnavailableError
from stylobate.logs import get_logger
from stylobate.redis.address import RedisAddress
from stylobate.redis.connecting import connect
from stylobate.redis.faults import ScriptUnknownError, is_refusal, unavailable
from stylobate.redis.link import Argument, Link, Reply
from stylobate.redis.replies import ReplyTo
from stylobate.redis.script import Script
from stylobate.resilience import backoff
from stylobate.stopping import end, goes_on

_log = get_logger("app")


class Pipeline:
    """Commands of all tasks over one connection; what is sent in one turn of the loop leaves together.

    For commands that answer at once: a blocking one (BLPOP, WAIT) would hold up everybody.
    """

    def __init__(
        self,
        address: RedisAddress,
        *,
        connect_timeout: timedelta,
        timeout: timedelta,
        max_pending: int,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Describe it; :meth:`start` connects.

        :param timeout: of one command.
        :param max_pending: commands that may wait for a reply; past it they fail at once instead of queueing up.
        :param on_lost: is called when the connection was lost, and after each attempt that failed.
        """
        self._address = address
        self._connect_s = connect_timeout.total_seconds()
        self._timeout_s = timeout.total_seconds()
        self._max_pending = max_pending
        self._on_lost = on_lost
        self._link: Link | None = None
        self._cause = "not connected yet"
        self._attempt: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; returns after the first attempt, whatever came of it. Later ones go on in the background."""
        self.begin()
        await self.attempted()

    def begin(self) -> None:
        """Connect in the background; what is asked for meanwhile waits for the first attempt."""
        loop = asyncio.get_running_loop()
        self._attempt = loop.create_future()
        self._task = loop.create_task(self._run(loop), name="redis-pipeline")

    async def close(self) -> None:
        """Drop the connection; commands under way fail."""
        if self._task is not None:
            await end((self._task,))
        if self._link is not None:
            self._link.abort("closed")
        self._attempted()

    async def attempted(self) -> None:
        """Wait for the attempt to connect that is under way."""
        if self._attempt is not None:
            await asyncio.wait([self._attempt])

    async def ping(self) -> None:
        """Ask the server whether it is there. Raises RedisUnavailableError."""
        await self.call("PING")

    @property
    def metrics(self) -> dict[str, float]:
        """Nothing that the other properties do not tell."""
        return {}

    @property
    def cause(self) -> str:
        """Why there is no connection; of the last one, while there is."""
        return self._cause

    @property
    def peer(self) -> tuple[str, int] | None:
        """Host and port of the server that it is connected to; None: to none at the moment."""
        return self._link.peer if self._link is not None and self.is_connected else None

    def leave(self, reason: str) -> None:
        """Drop the connection, for another one."""
        if self._link is not None:
            self._link.abort(reason)

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent at the moment."""
        return self._link is not None and not self._link.lost.done()

    @property
    def pending(self) -> int:
        """How many commands wait for a reply."""
        return self._link.pending if self._link is not None else 0

    async def call(self, *arguments: Argument, within_s: float | None = None) -> Reply:
        """Send a command and return its reply: bytes, int, None or a list of these.

        :param within_s: seconds from the sending on; None: what every command has.
        :raises RedisUnavailableError: at once while the server is known to be down; the command may have run when the
            connection broke on the way back.
        :raises redis.exceptions.ResponseError: when the server refuses the command.
        """
        return await self._ask(self._link or await self._connected(within_s), arguments, within_s)

    async def _ask(self, link: Link, arguments: tuple[Argument, ...], within_s: float | None) -> Reply:
        if link.pending >= self._max_pending:
            raise unavailable("too many commands wait")
        reply = link.send(*arguments)
        timer = None if within_s is None else reply.get_loop().call_later(within_s, _give_up, reply, within_s)
        try:
            return await reply
        except RedisUnavailableError as error:
            if error.metadata["cause"].startswith("READONLY"):
                link.abort("the server became a replica")  # connect anew, to find the one that takes writes
            raise
        finally:
            if timer is not None:
                timer.cancel()

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
        """Send commands, at least one, that leave together; return their replies in order, errors as values.

        :raises RedisUnavailableError: nothing was sent.
        """
        link = self._link or await self._connected(None)
        if link.pending >= self._max_pending:
            raise unavailable("too many commands wait")
        return await link.send_all(commands)

    async def run(
        self, script: Script, *, keys: tuple[Argument, ...], arguments: tuple[Argument, ...], within_s: float | None = None
    ) -> Reply:
        """Run a script; one that the server does not know (it was restarted) is sent along, once."""
        link = self._link or await self._connected(within_s)
        said = (len(keys), *keys, *arguments, *((link.run_id,) if script.hears_run_id else ()))
        try:
            return await self._ask(link, ("EVALSHA", script.sha, *said), within_s)
        except ScriptUnknownError:
            return await self._ask(link, ("EVAL", script.text, *said), within_s)

    def send_script(self, reply: ReplyTo, script: Script, keys: Sequence[Argument], arguments: Sequence[Argument]) -> bool:
        """Send a script that the server is to know, whose reply goes there; return False where it cannot be sent at once."""
        link = self._link
        if link is None or link.pending >= self._max_pending:
            return False
        more = (link.run_id,) if script.hears_run_id else ()
        link.send_for(reply, "EVALSHA", script.sha, len(keys), *keys, *arguments, *more)
        return True

    async def call_asking(self, *arguments: Argument, within_s: float | None = None) -> Reply:
        """Send a command for a slot that the server gets just now. Raises as :meth:`call` does."""
        link = self._link or await self._connected(within_s)
        _, reply = await link.send_all([("ASKING",), arguments])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def run_asking(
        self, script: Script, *, keys: tuple[Argument, ...], arguments: tuple[Argument, ...], within_s: float | None = None
    ) -> Reply:
        """Run a script for a slot that the server gets just now; it is sent along, for it may be new there."""
        link = self._link or await self._connected(within_s)
        said = (len(keys), *keys, *arguments, *((link.run_id,) if script.hears_run_id else ()))
        return await self.call_asking("EVAL", script.text, *said, within_s=within_s)

    async def _connected(self, within_s: float | None) -> Link:
        """Wait for the attempt to connect that is under way; between two attempts there is nothing to wait for."""
        if self._attempt is not None:
            await asyncio.wait([self._attempt], timeout=within_s)
        if self._link is None:
            raise unavailable(self._cause)
        return self._link

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pauses = backoff(initial=0.05, maximum=1.0)
        said = ""
        while goes_on():
            self._attempt = self._attempt or loop.create_future()
            try:
                link = await connect(self._address, loop, connect_s=self._connect_s, timeout_s=self._timeout_s)
            except RedisUnavailableError as error:
                self._cause = error.metadata["cause"]
                self._attempted()
                self._on_lost()
                if self._cause != said:  # once for each cause, not for each attempt
                    said = self._cause
                    event = "redis_refuses" if is_refusal(said) else "redis_unreachable"
                    _log.warning(event, server=str(self._address), cause=said)
                await asyncio.sleep(next(pauses))
                continue
            pauses = backoff(initial=0.05, maximum=1.0)
            self._link = link
            self._attempted()
            if said:
                said = ""
                _log.info("redis_connected", server=str(self._address))
            self._cause = await asyncio.shield(link.lost)
            self._link = None
            _log.warning("redis_connection_lost", server=str(self._address), cause=self._cause)
            self._on_lost()

    def _attempted(self) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None and not attempt.done():
            attempt.set_result(None)


def _give_up(reply: "asyncio.Future[Any]", seconds: float) -> None:
    if not reply.done():
        reply.set_exception(unavailable(f"no answer within {seconds:g} s"))
