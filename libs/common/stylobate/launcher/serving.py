"""Runs one Host in this process until a signal asks it to stop."""

import asyncio
import ctypes
import gc
import os
import resource
import signal
from collections.abc import Callable, Coroutine
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any

import uvloop

from stylobate import __version__
from stylobate.app import HostSettings, Placement, installed_services
from stylobate.app.host import Host
from stylobate.config import Sources
from stylobate.launcher.faces import plain_errors
from stylobate.launcher.project import SERVICES
from stylobate.logs import Logs, configure, get_logger
from stylobate.logs.printed import PrintedLines
from stylobate.stopping import goes_on

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GC_THRESHOLD = 50_000
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 32 * 1024
_SPARE_BYTES = 8 * 1024 * 1024
"""Kept at the top of the heap."""
_log = get_logger("app")


def start_logs(settings: HostSettings, service: str, node: str, file: Path | None = None) -> Logs:
    """Set up logging as the settings say; outside development each line tells version and environment too."""
    as_json = {"json": True, "console": False, "auto": None}[settings.log_format]
    origin = {"service": service, "node": node}
    if not settings.is_development:
        origin |= {"version": __version__, "environment": settings.environment}
    return configure(level=settings.log_level, json=as_json, file=file, origin=origin)


def load_host_settings(placement: Placement) -> tuple[HostSettings, Sources]:
    """Return the process's settings and where values come from. Raises ConfigError."""
    sources = Sources.of_process()
    settings = HostSettings.load(sources)
    if settings.is_development and placement.data is not None:
        sources = Sources.of_process(placement.data)
    return settings, sources


def calm_collector() -> None:
    """Keep what was built at start out of the collector's sight, and let it run more rarely: fewer pauses."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)


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


async def until_stopped(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the work until it ends or a signal asks to stop; then cancel it and wait for its clean end.

    SIGINT, SIGTERM, and SIGHUP (the terminal is gone) unless it is ignored, as under ``nohup``.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def asked(number: signal.Signals) -> None:
        _log.info("stop_asked", signal=number.name)
        stop.set()

    for number in _STOP_SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN and number is signal.SIGHUP:
            continue
        loop.add_signal_handler(number, asked, number)
    working = loop.create_task(work(), name="work")
    stopping = loop.create_task(stop.wait(), name="stop")
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if stop.is_set():
        working.cancel()
    try:
        await working
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
    except Exception:
        if not stop.is_set():
            raise
        _log.exception("stop_failed")


def run_to_end(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run on an event loop of its own until ``main`` ends; raise what it raises.

    Python lets a ``SystemExit`` of any task or callback end the loop. Those that run here are module code too, so it ends only
    what raised it: the loop goes on, and the log says who tried.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(main(), name="main")
        while not task.done():
            try:
                loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt, RuntimeError) as error:
                is_ctrl_c = isinstance(error, KeyboardInterrupt) and signal.getsignal(signal.SIGINT) is signal.default_int_handler
                if task.done() or is_ctrl_c:  # its own end, or a real Ctrl-C before anything listens to it
                    raise
                _log.error("tried_to_end_the_process", error=type(error).__name__, exc_info=error)


async def host(placement: Placement, logs: Logs, on_ready: Callable[[Host], None] = lambda _: None) -> None:
    """Host the placement until cancelled."""
    settings, sources = load_host_settings(placement)
    raise_descriptor_limit()
    give_memory_back()
    async with Host.open(installed_services(), placement, settings, sources, logs) as running:
        calm_collector()
        on_ready(running)
        if goes_on():
            await asyncio.Event().wait()


def serve(placement: Placement) -> int:
    """Run the placement to its end; return the exit code. One clear line for what a person can mend."""
    file = os.environ.get("STYLOBATE_LOG_FILE")
    with plain_errors():
        settings, _ = load_host_settings(placement)
        service = "+".join(placement.services) if len(placement.services) < len(SERVICES) else "platform"
        logs = start_logs(settings, service, placement.node, Path(file) if file else None)
        try:
            with redirect_stdout(PrintedLines()) if logs.as_json and not file else nullcontext():  # what modules print
                run_to_end(lambda: until_stopped(lambda: host(placement, logs)))
        finally:
            _log.info("stopped")
            logs.close()
    return 0
