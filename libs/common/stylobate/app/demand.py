"""How much of its time a thread wants the processor, whether it gets it or not."""

import contextlib
import os
import threading
from pathlib import Path
from time import perf_counter, thread_time

_OVER_S = 0.1


class Demand:
    """Of the thread that makes it: 0 while it sleeps all the time, 1 while it never does.

    Linux says how long a thread ran and how long it was kept waiting for a processor (schedstat, in nanoseconds). Elsewhere only
    the time that it ran is known.
    """

    def __init__(self) -> None:
        """Begin to count."""
        self.share = 0.0
        """Over the last tenth of a second or so."""
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(Path(f"/proc/self/task/{threading.get_native_id()}/schedstat"), os.O_RDONLY | os.O_CLOEXEC)
        self._wanted, self._at = self._so_far(), perf_counter()

    def look(self) -> None:
        """Bring the share up to date. Call it in the thread."""
        wanted, now = self._so_far(), perf_counter()
        passed = now - self._at
        if passed > 0:
            self.share += (min(1.0, (wanted - self._wanted) / passed) - self.share) * min(1.0, passed / _OVER_S)
        self._wanted, self._at = wanted, now

    def close(self) -> None:
        """Count no more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _so_far(self) -> float:
        if self._descriptor is None:
            return thread_time()
        ran, waited, _ = os.pread(self._descriptor, 64, 0).split()
        return (int(ran) + int(waited)) / 1e9
