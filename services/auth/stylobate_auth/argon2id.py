"""Argon2id (RFC 9106) in memory that is kept from one hash to the next.

Each hash works in some 19 MiB. Taken from the C library they are a new mapping each time, of pages that the system must find and
clear one by one: a third of what a hash costs. So the memory is ours, and given back once it has not been used for a while. The
library overwrites it before it lets go of it.
"""

import mmap
import os
from base64 import b64decode, b64encode
from contextlib import suppress
from hmac import compare_digest

from argon2 import Parameters, Type, extract_parameters
from argon2.exceptions import HashingError, InvalidHashError
from argon2.low_level import ARGON2_VERSION, core, error_to_str, ffi

_SALT_BYTES = 16
_HASH_BYTES = 32
_LARGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
"""Linux only. A hash jumps about in its memory: in pages of 4 KiB each jump is one that the processor has to look up."""


class Argon2id:
    """Makes and checks hashes with the same parameters, in any thread."""

    def __init__(self, *, time_cost: int, memory_kib: int, parallelism: int) -> None:
        self._parameters = Parameters(
            type=Type.ID,
            version=ARGON2_VERSION,
            salt_len=_SALT_BYTES,
            hash_len=_HASH_BYTES,
            time_cost=time_cost,
            memory_cost=memory_kib,
            parallelism=parallelism,
        )
        self._memory = _Memory()

    def hash(self, password: str) -> str:
        """Return the hash of a password in PHC form. Raises HashingError: there is no memory."""
        found, salt = self._parameters, os.urandom(_SALT_BYTES)
        made = self._run(found, salt, password)
        costs = f"m={found.memory_cost},t={found.time_cost},p={found.parallelism}"
        return f"$argon2id$v={found.version}${costs}${_text(salt)}${_text(made)}"

    def matches(self, stored: str, password: str) -> bool:
        """Return whether it is a hash, by whatever parameters, and of this password. Raises HashingError: there is no memory."""
        try:
            parameters = extract_parameters(stored)
            salt, expected = (b64decode(part + "=" * (-len(part) % 4), validate=True) for part in stored.split("$")[-2:])
        except (InvalidHashError, ValueError):
            return False
        return compare_digest(self._run(parameters, salt, password), expected)

    def is_outdated(self, stored: str) -> bool:
        """Return whether the hash was made with other parameters. Raises InvalidHashError."""
        return extract_parameters(stored) != self._parameters

    def give_back(self) -> None:
        """Give the memory back that no hash is using."""
        self._memory.give_back()

    @property
    def kept(self) -> int:
        """Bytes that are kept for the next hashes."""
        return self._memory.kept

    def _run(self, found: Parameters, salt: bytes, password: str) -> bytes:
        secret = password.encode()
        out = ffi.new("uint8_t[]", found.hash_len)
        held = {"pwd": ffi.new("uint8_t[]", secret), "salt": ffi.new("uint8_t[]", salt)}  # alive for as long as they are used
        context = ffi.new(
            "argon2_context *",
            {
                **held,
                "out": out,
                "outlen": found.hash_len,
                "pwdlen": len(secret),
                "saltlen": len(salt),
                "t_cost": found.time_cost,
                "m_cost": found.memory_cost,
                "lanes": found.parallelism,
                "threads": found.parallelism,
                "version": found.version,
                "allocate_cbk": self._memory.take,
                "free_cbk": self._memory.leave,
            },
        )
        if (code := core(context, found.type.value)) != 0:
            raise HashingError(error_to_str(code))
        return bytes(ffi.buffer(out))


class _Memory:
    """Buffers for hashes: as many as are used at once. The callbacks are called in the threads that hash."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []
        self._used: dict[int, mmap.mmap] = {}
        """By address."""
        self.take = ffi.callback("int(uint8_t **, size_t)", self._take, error=-1)
        self.leave = ffi.callback("void(uint8_t *, size_t)", self._leave)

    @property
    def kept(self) -> int:
        return sum(map(len, self._free))

    def give_back(self) -> None:
        while self._free:
            self._free.pop().close()

    def _take(self, place: "ffi.CData", size: int) -> int:
        found = self._free.pop() if self._free else None
        if found is None or len(found) != size:  # of other parameters: of an old hash, or of those after it
            found = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if _LARGE_PAGES is not None:
                with suppress(OSError):  # a kernel without them
                    found.madvise(_LARGE_PAGES)
        start = ffi.cast("uint8_t *", ffi.from_buffer(found))
        self._used[int(ffi.cast("uintptr_t", start))] = found
        place[0] = start
        return 0

    def _leave(self, start: "ffi.CData", _size: int) -> None:
        self._free.append(self._used.pop(int(ffi.cast("uintptr_t", start))))


def _text(data: bytes) -> str:
    """Return data in base64 as PHC has it, without padding."""
    return b64encode(data).rstrip(b"=").decode()
