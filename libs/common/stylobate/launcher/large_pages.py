"""Memory of this process in large pages (2 MiB on most machines), where Linux has them.

A request touches code and classes all over what was built at the start. In pages of 4 KiB these are more than the processor keeps
in sight, and each look beyond costs it the way through the page tables; in a virtual machine through two of them.
"""

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_SYSTEM = Path("/sys/kernel/mm/transparent_hugepage")
_REGIONS = Path("/proc/self/smaps")
_COLLAPSE = 25
"""``MADV_COLLAPSE`` of madvise(2), from Linux 6.1 on; `mmap` does not name it yet."""
_HEAP = "[heap]"


def gather() -> None:
    """Put what is in memory now into large pages. It takes up to two tenths of a second: for a thread that nobody waits for.

    Nothing grows by it: what comes later gets the pages that it would have got. Where the system has none (``never``, an older
    kernel, another system), nothing happens.
    """
    with suppress(OSError, ValueError, AttributeError):
        if "[never]" in (_SYSTEM / "enabled").read_text():
            return
        size = int((_SYSTEM / "hpage_pmd_size").read_text())
        with _REGIONS.open() as lines:
            found = [*regions(lines, size)]
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        for start, end in found:
            advise(start, end - start, _COLLAPSE)  # a part of it, if not all: what could not be done is as it was


def regions(lines: Iterable[str], size: int) -> Iterator[tuple[int, int]]:
    """Return where memory begins and ends, in whole large pages, that is this process's own and mostly in use.

    What is shared with others (a process that was forked shares what it had then) stays shared, and stacks of threads, of which
    little is in use, stay small.

    :param lines: of proc_pid_smaps(5). :param size: of a large page, in bytes.
    """
    start = end = whole = 0
    for line in lines:
        name, *values = line.split()
        if not name.endswith(":"):
            start, end = (int(part, 16) for part in name.split("-"))
            start, end = -(-start // size) * size, end // size * size
            if values[0] != "rw-p" or " ".join(values[4:]) not in {"", _HEAP}:
                end = start
        elif name == "Size:":
            whole = int(values[0])
        elif name == "Private_Dirty:" and end > start and 2 * int(values[0]) >= whole:
            yield start, end
