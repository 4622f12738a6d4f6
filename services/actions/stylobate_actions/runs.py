"""Calls with an idempotency key: begun once, run again where nobody runs them any more, answered with the first answer."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

from stylobate.errors import IdempotencyInProgressError, UnavailableError
from stylobate.idempotency import IdempotencyKeyReusedError, Keeping
from stylobate.logs import get_logger
from stylobate.modules.steps import Steps
from stylobate.resilience import backoff, prune_forever
from stylobate.stopping import goes_on

from stylobate_actions.store.port import Begun, RunKey, RunLedger

HOLD = timedelta(seconds=5)
"""How long a run is held without being renewed: so long the next call waits when a process died."""
_AGAIN = timedelta(seconds=1)
_log = get_logger("app")


class HeldRun:
    """A run that this process carries out."""

    def __init__(self, key: RunKey, begun: Begun, until: float, kept: Callable[[bytes], bytes]) -> None:
        self.key = key
        self.token = begun.token
        self.steps = Steps(begun.run_id, begun.began_at)
        self.kept = kept
        """Makes of an answer what is to be kept of it."""
        self.until = until
        """By the loop's clock: until then nobody else is given it."""
        self.task: asyncio.Task[object] | None = None
        """What runs the handler, once it does."""
        self.is_lost = False
        self.is_answered = False
        self.ended = asyncio.Event()


class Runs:
    """Begins runs and keeps their answers. A run is held as long as its handler runs, also after its caller was answered."""

    def __init__(
        self, ledger: RunLedger, loop: asyncio.AbstractEventLoop, new_id: Callable[[], str], keeping: Keeping | None = None
    ) -> None:
        """Keep the parts.

        :param keeping: how calls and answers are kept, which may hold anything. None: answers as they are.
        """
        self.keeping = keeping or Keeping()
        """May be exchanged for another one that knows the secret of the one before."""
        self._ledger = ledger
        self._loop = loop
        self._new_id = new_id
        self._held: dict[RunKey, HeldRun] = {}

    @asynccontextmanager
    async def begun(self, key: RunKey, content: bytes, until: float) -> AsyncIterator[HeldRun | bytes]:
        """Give the run, or the answer that it had before. Another call's run is waited for.

        :param content: what must be the same each time.
        :param until: by the loop's clock, how long to wait.
        :raises IdempotencyKeyReusedError: it was begun with other content.
        :raises IdempotencyInProgressError: it is still under way.
        """
        found = await self._begin(key, content, until)
        if isinstance(found, bytes):
            yield found
            return
        self._held[key] = found
        try:
            yield found
        finally:
            if found.task is None:  # the handler was never reached
                await self._give_up(found)

    async def carry(self, run: HeldRun, handler: Callable[[], Awaitable[bytes]]) -> bytes:
        """Run the handler in the current task and keep what it answers."""
        run.task = asyncio.current_task()
        try:
            output = await handler()
            run.is_answered = await self._ledger.answer(run.key, run.token, run.kept(output))
        except asyncio.CancelledError:
            if run.is_lost:
                raise IdempotencyInProgressError(retry_after=_AGAIN) from None
            raise
        else:
            if not run.is_answered:
                raise IdempotencyInProgressError(retry_after=_AGAIN)
            return output
        finally:
            await self._give_up(run)

    async def run(self) -> None:
        """Hold what is carried out here, forever; what may be lost is cancelled before anybody else is given it."""
        hold_s = HOLD.total_seconds()
        while goes_on():
            await asyncio.sleep(hold_s / 3)
            asked = self._loop.time()
            runs = [run for run in self._held.values() if not run.is_lost]
            kept: set[RunKey] = set()
            with suppress(UnavailableError, TimeoutError):
                async with asyncio.timeout(hold_s / 3):
                    kept = await self._ledger.renew([(run.key, run.token) for run in runs])
            for run in runs:
                if run.key in kept:
                    run.until = asked + hold_s
                elif not run.is_answered and self._loop.time() > run.until - hold_s / 3 and run.task is not None:
                    run.is_lost = True
                    _log.warning("run_lost", action=run.key.action)
                    run.task.cancel()

    async def prune(self) -> None:
        """Remove runs that expired, forever."""
        await prune_forever(self._ledger.prune)

    async def _begin(self, key: RunKey, content: bytes, until: float) -> HeldRun | bytes:
        keeping = self.keeping
        former = hashlib.sha256(content).digest()  # as releases up to 0.1 kept it, for a day
        requests, pauses = [*keeping.requests(content), former], backoff(0.01, maximum=0.5)
        while True:
            asked = self._loop.time()
            found = await self._ledger.begin(key, requests, self._new_id())
            if isinstance(found, Begun):
                return HeldRun(key, found, asked + HOLD.total_seconds(), partial(keeping.sealed, content=content))
            if found is not None and found.request not in requests:
                raise IdempotencyKeyReusedError
            if found is not None and found.answer is not None:
                return found.answer if found.request == former else keeping.opened(found.request, found.answer, content) or b""
            if (left := until - self._loop.time()) <= 0:
                raise IdempotencyInProgressError(retry_after=_AGAIN)
            if (run := self._held.get(key)) is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await run.ended.wait()
            else:
                await asyncio.sleep(min(left, next(pauses)))

    async def _give_up(self, run: HeldRun) -> None:
        """Let others have the run, where it has no answer: at all, or with the same request where it has changed something."""
        try:
            if not run.is_answered:
                await (self._ledger.release if run.steps.has_any else self._ledger.forget)(run.key, run.token)
        except UnavailableError:
            _log.info("run_left_to_expire", action=run.key.action)
        finally:
            del self._held[run.key]
            run.ended.set()
