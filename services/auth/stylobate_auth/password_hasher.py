"""Password hashes: Argon2id in threads of their own, with a bounded queue in front."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Self, TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from stylobate.health import Health

from stylobate_auth.errors import HashingBusyError

T = TypeVar("T")
_RETRY_AFTER = timedelta(seconds=1)


class PasswordHasher:
    """Hashes and verifies, so many at a time as there are threads; so many more may wait. Use :meth:`open`.

    The threads run truly beside the event loop: Argon2 lets go of the interpreter's lock.
    """

    def __init__(self, hasher: argon2.PasswordHasher, executor: ThreadPoolExecutor, bound: int) -> None:
        self._hasher = hasher
        self._executor = executor
        self._loop = asyncio.get_running_loop()
        self._bound = bound
        self._under_way = 0
        self._refused = 0
        self._decoy = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, *, memory_kib: int, time_cost: int, parallelism: int, threads: int, queue: int) -> AsyncIterator[Self]:
        """Start the threads; at the end what is under way is finished and what waits is dropped."""
        hasher = argon2.PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        try:
            this = cls(hasher, executor, threads + queue)
            this._decoy = await this.hash("nobody's password")
            yield this
        finally:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the hash of a password in PHC form. Raises HashingBusyError."""
        return await self._run(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """Return whether the password is the one that was hashed. Raises HashingBusyError.

        :param password_hash: None where there is no account: takes as long and is never right.
        """
        stored = self._decoy if password_hash is None else password_hash
        return await self._run(lambda: self._matches(stored, _normal(password))) and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def health(self) -> Health:
        """Tell how much is under way."""
        return Health(metrics={"under_way": float(self._under_way), "refused": float(self._refused)})

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._under_way >= self._bound:
            self._refused += 1
            raise HashingBusyError(retry_after=_RETRY_AFTER)
        self._under_way += 1
        future = self._executor.submit(work)
        future.add_done_callback(self._done)  # a caller that goes away leaves its thread busy until then
        return await asyncio.wrap_future(future, loop=self._loop)

    def _done(self, _: "Future[T]") -> None:
        self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        self._under_way -= 1


def _normal(password: str) -> str:
    """Return the password as every keyboard would have typed it (NFKC, NIST SP 800-63B §3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
