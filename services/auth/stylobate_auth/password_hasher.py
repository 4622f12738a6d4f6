"""Password hashes: Argon2id in threads of their own, with a fair and bounded queue in front."""

import asyncio
import os
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Self, TypeVar

from stylobate.health import Health

from stylobate_auth.argon2id import Argon2id
from stylobate_auth.hashing_queue import HashingQueue

T = TypeVar("T")
_KEPT_S = 10.0
"""For how long memory is kept that no hash is made in."""
_NICENESS = 10
"""Of the threads: the loop and the stores get nine tenths of a core that they want at the same time, and a hash what is left."""


class PasswordHasher:
    """Runs up to `threads` hashes at once; up to `queue` more wait. Use :meth:`open`.

    The threads run truly beside the event loop: Argon2 lets go of the interpreter's lock. Every method takes the caller's
    ``share`` of the queue and its ``deadline``, as :meth:`HashingQueue.run` does.
    """

    def __init__(self, hasher: Argon2id, queue: HashingQueue) -> None:
        self._hasher = hasher
        self._queue = queue
        self._decoy = ""
        self._loop = asyncio.get_running_loop()
        self._used_at = 0.0
        self._giving_back: asyncio.TimerHandle | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, *, memory_kib: int, time_cost: int, parallelism: int, threads: int, queue: int) -> AsyncIterator[Self]:
        """Start the threads; at the end what is under way is finished and what waits is dropped."""
        hasher = Argon2id(time_cost=time_cost, memory_kib=memory_kib, parallelism=parallelism)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2", initializer=_give_way)
        this = cls(hasher, HashingQueue(executor, threads=threads, bound=queue))
        try:
            this._decoy = await this.hash("nobody's password")
            yield this
        finally:
            if this._giving_back is not None:
                this._giving_back.cancel()
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)
            hasher.give_back()

    async def hash(self, password: str, *, share: str = "", deadline: float = 0.0) -> str:
        """Return the hash of a password in PHC form. Raises HashingBusyError."""
        return await self._run(lambda: self._hasher.hash(_normal(password)), share, deadline)

    async def verify(self, password_hash: str | None, password: str, *, share: str = "", deadline: float = 0.0) -> bool:
        """Return whether the password is the one that was hashed. Raises HashingBusyError.

        :param password_hash: None where there is no account: takes as long and is never right.
        """
        stored = self._decoy if password_hash is None else password_hash
        is_right = await self._run(lambda: self._hasher.matches(stored, _normal(password)), share, deadline)
        return is_right and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than today's."""
        return self._hasher.is_outdated(password_hash)

    async def health(self) -> Health:
        """Tell how much is under way."""
        queue = self._queue
        numbers = {"under_way": queue.running, "waiting": queue.waiting, "refused": queue.refused}
        return Health(metrics={name: float(number) for name, number in numbers.items()})

    async def _run(self, work: Callable[[], T], share: str, deadline: float) -> T:
        """Do some work in a thread, in memory that is kept for a while after it."""
        try:
            return await self._queue.run(work, share=share, deadline=deadline)
        finally:
            self._used_at = self._loop.time()
            if self._giving_back is None:
                self._giving_back = self._loop.call_later(_KEPT_S, self._give_back)

    def _give_back(self) -> None:
        self._giving_back = None
        left_s = self._used_at + _KEPT_S - self._loop.time()
        if self._queue.running or left_s > 0:
            self._giving_back = self._loop.call_later(max(left_s, 1.0), self._give_back)
        else:
            self._hasher.give_back()


def _give_way() -> None:
    """Let the event loop, and the stores beside it, go first where all cores are busy: a hash lasts many of their turns."""
    if sys.platform == "linux":  # elsewhere threads have no priority of their own
        with suppress(PermissionError):  # it is lower already
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


def _normal(password: str) -> str:
    """Return the password as every keyboard would have typed it (NFKC, NIST SP 800-63B §3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
