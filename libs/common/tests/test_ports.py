"""Ports chosen in advance are nobody else's: neither another test process's nor those that clients are given."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from stylobate.testing.ports import free_ports

_OTHER = "from stylobate.testing.ports import free_ports; print(*(free_ports(7) for _ in range(60)), flush=True); input()"


def _rows(process: "subprocess.Popen[str]") -> set[int]:
    assert process.stdout is not None
    return {port for first in process.stdout.readline().split() for port in range(int(first), int(first) + 7)}


def test_two_processes_are_never_given_the_same_port() -> None:
    """However many each asks for, while both live."""
    command = [sys.executable, "-c", _OTHER]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **streams) as one, subprocess.Popen(command, **streams) as two:
        ours = {free_ports(1) for _ in range(300)}
        first, second = _rows(one), _rows(two)
        for process in (one, two):
            process.communicate("\n", timeout=60)
    assert len(first) >= 180
    assert first.isdisjoint(second)
    assert ours.isdisjoint(first | second)


def test_clients_are_given_other_ports() -> None:
    """What the system gives to whoever connects is never chosen (ip(7), ip_local_port_range)."""
    said = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not said.exists():
        pytest.skip("Linux only")
    low, high = map(int, said.read_text().split())
    assert not {free_ports(1) for _ in range(300)} & set(range(low, high + 1))


def test_a_port_in_use_is_passed_over() -> None:
    """The whole row is free, not only its first port."""
    with socket.socket() as taken:
        last = free_ports(7) + 5
        taken.bind(("127.0.0.1", last))
        rows = [free_ports(3) for _ in range(100)]
    assert not any(first <= last < first + 3 for first in rows)
