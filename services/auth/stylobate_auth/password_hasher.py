"""Password hashes: Argon2id in threads of their own, with a fair and bounded queue in front."""

import asyncio
import unicodedata
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Self

import argon2
from argon2.exceptions import InvalidHashError, VerificationError
from stylobate.health import Health

from stylobate_auth.hashing_queue import HashingQueue


class PasswordHasher:
    """Runs up to `threads` hashes at once; up to `queue` more wait. Use :meth:`open`.

    The threads run truly beside the event loop: Argon2 lets go of the interpreter's lock. Every method takes the caller's
    ``share`` of the queue and its ``deadline``, as :meth:`HashingQueue.run` does.
    """

    def __init__(self, hasher: argon2.PasswordHasher, queue: HashingQueue) -> None:
        self._hasher = hasher
        self._queue = queue
        self._decoy = ""

    @classmethod
    @asynccontextmanager
    async def open(cls, *, memory_kib: int, time_cost: int, parallelism: int, threads: int, queue: int) -> AsyncIterator[Self]:
        """Start the threads; at the end what is under way is finished and what waits is dropped."""
        hasher = argon2.PasswordHasher(time_cost=time_cost, memory_cost=memory_kib, parallelism=parallelism)
        executor = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        try:
            this = cls(hasher, HashingQueue(executor, threads=threads, bound=queue))
            this._decoy = await this.hash("nobody's password")
            yield this
        finally:
            await asyncio.to_thread(executor.shutdown, cancel_futures=True)

    async def hash(self, password: str, *, share: str = "", deadline: float = 0.0) -> str:
        """Return the hash of a password in PHC form. Raises HashingBusyError."""
        return await self._queue.run(lambda: self._hasher.hash(_normal(password)), share=share, deadline=deadline)

    async def verify(self, password_hash: str | None, password: str, *, share: str = "", deadline: float = 0.0) -> bool:
        """Return whether the password is the one that was hashed. Raises HashingBusyError.

        :param password_hash: None where there is no account: takes as long and is never right.
        """
        stored = self._decoy if password_hash is None else password_hash
        is_right = await self._queue.run(lambda: self._matches(stored, _normal(password)), share=share, deadline=deadline)
        return is_right and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Return whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    async def health(self) -> Health:
        """Tell how much is under way."""
        queue = self._queue
        numbers = {"under_way": queue.running, "waiting": queue.waiting, "refused": queue.refused}
        return Health(metrics={name: float(number) for name, number in numbers.items()})

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False


def _normal(password: str) -> str:
    """Return the password as every keyboard would have typed it (NFKC, NIST SP 800-63B §3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
