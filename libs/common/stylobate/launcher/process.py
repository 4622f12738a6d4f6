"""What each lasting process of the launcher does: read its settings, set up logs, run a loop until a signal stops it."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from stylobate import __version__
from stylobate.app import HostSettings, Placement
from stylobate.config import Environment, Sources
from stylobate.logs import Logs, configure, get_logger
from stylobate.vault import with_vault
from stylobate.vault.manager import VaultManager

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_log = get_logger("app")


def start_logs(settings: HostSettings, service: str, node: str, file: Path | None = None) -> Logs:
    """Set up logging as the settings say; outside development each line tells version and environment too."""
    as_json = {"json": True, "console": False, "auto": None}[settings.log_format]
    origin = {"service": service, "node": node}
    if not settings.is_development:
        origin |= {"version": __version__, "environment": settings.environment}
    return configure(level=settings.log_level, json=as_json, file=file, origin=origin)


def load_host_settings(placement: Placement, *, without_vault: bool = False) -> "Told":
    """Return the process's settings and where values come from. Blocks while Vault is asked.

    :param without_vault: whether it is left out, because it does not run yet.
    :raises ConfigError: one cannot be used, or Vault must be asked and cannot be.
    """
    alone = Sources.of_process()
    is_development = HostSettings.value("environment", alone) == Environment.DEVELOPMENT
    if is_development and placement.data is not None:
        alone = Sources.of_process(placement.data)
    sources, vault = (alone, None) if without_vault else with_vault(alone)
    return Told(HostSettings.load(sources), sources, vault)


@dataclass(frozen=True, slots=True)
class Told:
    """What a process is told."""

    settings: HostSettings
    sources: Sources
    vault: VaultManager | None
    """What stands behind the sources, where there is a Vault."""


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
