"""Runs one Host in this process until a signal asks it to stop."""

import asyncio
import ctypes
import gc
import os
import resource
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path

from stylobate.app import Placement
from stylobate.imports import on_demand
from stylobate.launcher import large_pages
from stylobate.launcher.output import plain_errors
from stylobate.launcher.process import load_host_settings, run_to_end, start_logs, until_stopped
from stylobate.logs import Logs, get_logger
from stylobate.logs.printed import PrintedLines
from stylobate.services import installed_services
from stylobate.stopping import goes_on

with on_demand("uvicorn", "config:Config"):  # else with its command line, and ways to start again: 4 MB
    from stylobate.app.host import Host

_GC_THRESHOLD = 50_000
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 32 * 1024
_SPARE_BYTES = 8 * 1024 * 1024
"""Kept at the top of the heap."""
_log = get_logger("app")


def calm_collector() -> None:
    """Keep what was built at start out of the collector's sight, and let it run more rarely: fewer pauses."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)  # what was needed for the start alone


def give_memory_back() -> None:
    """Let what is large be given back to the system when it is freed: glibc keeps it once it has seen some of it go.

    The size from which an allocation is a mapping of its own grows by itself until it is set (mallopt(3)). Below it, large bodies
    leave holes between what lives longer.
    """
    with suppress(OSError, AttributeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        set_option(_M_TRIM_THRESHOLD, _SPARE_BYTES)


def raise_descriptor_limit() -> None:
    """Let the process open as many files as the system grants it: the soft limit is low for the sake of old programs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS grants less than it names
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def host(placement: Placement, logs: Logs, on_ready: Callable[[Host], None] = lambda _: None) -> None:
    """Host the placement until cancelled."""
    told = await asyncio.to_thread(load_host_settings, placement)  # it may have to ask Vault
    raise_descriptor_limit()
    give_memory_back()
    async with Host.open(installed_services(), placement, told.settings, told.sources, logs, vault=told.vault) as running:
        calm_collector()
        on_ready(running)
        if goes_on():
            await asyncio.to_thread(large_pages.gather)
            await running.settle()
            await asyncio.Event().wait()


def serve(placement: Placement) -> int:
    """Run the placement to its end; return the exit code. One clear line for what a person can mend."""
    file = os.environ.get("STYLOBATE_LOG_FILE")
    with plain_errors():
        settings = load_host_settings(placement).settings
        service = "+".join(placement.services) if placement.addresses else "platform"
        logs = start_logs(settings, service, placement.node, Path(file) if file else None)
        try:
            with redirect_stdout(PrintedLines()) if logs.as_json and not file else nullcontext():  # what modules print
                run_to_end(lambda: until_stopped(lambda: host(placement, logs)))
        finally:
            _log.info("stopped")
            logs.close()
    return 0
