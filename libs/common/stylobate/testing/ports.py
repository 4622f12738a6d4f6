"""Ports chosen in advance: none that the system gives to clients by itself, none that another process of tests is given."""

import random
import socket
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

HOST = "127.0.0.1"
_OF_A_PLATFORM = 12
"""How many `up --port N` takes, counted from N."""
_BLOCK = 200
_FIRST, _LAST = 11_000, 65_400
_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL = "32768 65535"
"""Of systems that do not say what they give to clients: the most that is usual."""


class _Block:
    """A row of ports for this process alone: it holds the first one, and nothing else there, for as long as it lives."""

    def __init__(self) -> None:
        held = socket.socket()
        for first in _starts():
            with suppress(OSError):
                held.bind((HOST, first))
                held.detach()  # closed by the system, at our end
                self._ports = range(first + 1, first + _BLOCK)
                self._next = self._ports.start
                return
        held.close()
        raise RuntimeError("every block of ports is taken")

    def row(self, count: int) -> int:
        for _ in self._ports:
            if self._next + count > self._ports.stop:
                self._next = self._ports.start
            first = self._next
            self._next += count
            if _are_free(first, count):
                return first
        raise RuntimeError(f"no {count} ports in a row are free within {self._ports}")


_block = cache(_Block)


def free_ports(count: int = _OF_A_PLATFORM) -> int:
    """Return the first of ``count`` loopback ports in a row (at most 199) on which nobody listens.

    Whatever else is given out comes before it is given again; no process on this machine that asks here gets it meanwhile.
    """
    return _block().row(count)


def _starts() -> list[int]:
    """Return where blocks may begin, in any order: two processes that begin at once hardly meet."""
    said = _GIVEN_OUT.read_text(encoding="ascii") if _GIVEN_OUT.exists() else _USUAL
    low, high = map(int, said.split())
    every = range(_FIRST, _LAST, _BLOCK)
    found = [first for first in every if first + _BLOCK <= low or first > high] or list(every)
    random.shuffle(found)
    return found


def _are_free(first: int, count: int) -> bool:
    with ExitStack() as stack, suppress(OSError):
        for port in range(first, first + count):
            stack.enter_context(socket.socket()).bind((HOST, port))
        return True
    return False
