"""What a process has built at its start stands in large pages, and nothing else does."""

import subprocess
import sys
from pathlib import Path

import pytest
from stylobate.launcher.large_pages import regions

SIZE = 2 << 20
KIB = 1024


def region(start: int, end: int, access: str = "rw-p", mapped: str = "", own_kib: int | None = None) -> list[str]:
    """Return the lines of a region; all of it is in use, unless less is said."""
    whole = (end - start) // KIB
    head = f"{start:x}-{end:x} {access} 00000000 00:00 0 {mapped}"
    return [
        head,
        f"Size: {whole} kB",
        "Rss: 4 kB",
        f"Private_Dirty: {whole if own_kib is None else own_kib} kB",
        "VmFlags: rd wr",
    ]


def test_whole_large_pages_of_what_is_in_use_are_found() -> None:
    """Memory of no file, and the heap, from the first whole large page to the last."""
    ten, eleven = 10 * SIZE, 11 * SIZE
    assert [*regions(region(ten - 4096, eleven + 4096), SIZE)] == [(ten, eleven)]
    assert [*regions(region(ten, eleven, mapped="[heap]"), SIZE)] == [(ten, eleven)]
    assert [*regions([*region(ten, eleven), *region(20 * SIZE, 22 * SIZE)], SIZE)] == [(ten, eleven), (20 * SIZE, 22 * SIZE)]


def test_what_is_shared_little_used_or_of_a_file_is_left_alone() -> None:
    """A forked process would pay for pages of its own, a stack would grow, and files are the system's."""
    ten, eleven = 10 * SIZE, 11 * SIZE
    assert not [*regions(region(ten, eleven, own_kib=1023), SIZE)]  # shared with a process that it was forked from, or a stack
    assert not [*regions(region(ten, eleven, mapped="/usr/lib/libpython3.so"), SIZE)]
    assert not [*regions(region(ten, eleven, mapped="[stack]"), SIZE)]
    assert not [*regions(region(ten, eleven, access="r-xp"), SIZE)]
    assert not [*regions(region(ten, eleven, access="rw-s"), SIZE)]
    assert not [*regions(region(ten + 4096, eleven + 4096), SIZE)]  # no whole one is in it
    assert not [*regions([*region(ten, eleven, access="r--p"), *region(ten + 1, ten + 2)], SIZE)]


_PROGRAM = """
from stylobate.launcher import large_pages
kept = [str(number).encode() * 40 for number in range(60_000)]
before = sum(map(hash, kept))
def large():
    return sum(int(line.split()[1]) for line in open("/proc/self/smaps_rollup") if line.startswith("AnonHugePages"))
first = large()
large_pages.gather()
assert sum(map(hash, kept)) == before
print(large() - first)
"""


def kernel() -> tuple[int, ...]:
    """Return the version of a Linux that gives large pages; else nothing."""
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not enabled.exists() or "[never]" in enabled.read_text():
        return ()
    return tuple(map(int, Path("/proc/sys/kernel/osrelease").read_text().split("-")[0].split(".")[:2]))


@pytest.mark.skipif(kernel() < (6, 1), reason="the system has no large pages that a process can ask for")
def test_what_is_there_is_gathered_and_stays_what_it_is() -> None:
    """Much of what a process holds moves into large pages, and is what it was."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) > SIZE // KIB, "no large pages were made"
