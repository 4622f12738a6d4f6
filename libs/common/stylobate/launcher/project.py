"""A project folder and what runs in it: `.stylobate/` for data, a run folder for sockets, one record of the running platform."""

import fcntl
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from stylobate.launcher.embedded import ProcessRecord, run_folder
from stylobate.launcher.output import CommandError
from stylobate.services import ServiceSpec, installed_services

RESTART_SIGNAL = signal.SIGUSR1
"""Asks the supervisor to replace its processes, one after the other."""


def services_here(environ: Mapping[str, str] = os.environ) -> dict[str, ServiceSpec]:
    """Return the installed services; in an image, which holds all of them, those that it is for."""
    names = environ.get("STYLOBATE_SERVICES", "").split()
    return {name: spec for name, spec in installed_services().items() if not names or name in names}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The record that a running supervisor keeps in its run folder."""

    supervisor: ProcessRecord
    mode: str
    """``one process``, ``split`` and how many workers, for people."""
    endpoints: dict[str, str]
    """Addresses by name: gateway, docs, realtime, grpc…, admin."""
    children: tuple[ProcessRecord, ...] = ()
    """Embedded servers and service processes."""
    is_ready: bool = False
    """Whether the platform has been ready; it may be less healthy by now, which its admin port tells."""

    def as_json(self) -> bytes:
        """Return the file's content."""
        return orjson.dumps(self, option=orjson.OPT_INDENT_2)

    @classmethod
    def parse(cls, content: bytes) -> "RunRecord":
        """Read the file's content. Raises ValueError or KeyError for something else."""
        raw: dict[str, Any] = orjson.loads(content)
        return cls(
            supervisor=ProcessRecord(**raw["supervisor"]),
            mode=raw["mode"],
            endpoints=raw["endpoints"],
            children=tuple(ProcessRecord(**child) for child in raw["children"]),
            is_ready=raw.get("is_ready", False),
        )


class Project:
    """The folder that `stylobate` was called in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / ".stylobate"
        self.logs = self.data / "logs"
        self.identity = self.data / "identity"
        self.mail = self.data / "mail"

    @property
    def run(self) -> Path:
        """The run folder (0700, short path): sockets and the record of what runs."""
        return run_folder(self.folder)

    def running(self) -> RunRecord | None:
        """Return the record of the last supervisor, whether or not it still runs; None when there is none."""
        try:
            return RunRecord.parse(self._record.read_bytes())
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def alive(self) -> RunRecord | None:
        """Return the record of the supervisor that runs; None when there is none."""
        running = self.running()
        return running if running is not None and running.supervisor.is_running else None

    def demand(self, else_do: str = "") -> RunRecord:
        """Return the record of the supervisor that runs. Raises CommandError, which says what to do.

        :param else_do: what may be done in place of `stylobate up`.
        """
        if (running := self.alive()) is None:
            raise CommandError(f"nothing is running here; `stylobate up` first{else_do and ', or '}{else_do}")
        return running

    def save(self, running: RunRecord) -> None:
        """Keep the record; a reader never sees half of it."""
        fresh = self._record.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(running.as_json())
        fresh.replace(self._record)

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Hold the project for as long as the block, for one supervisor; gives False when another one holds it."""
        with (self.run / "up.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def forget(self) -> None:
        """Drop the record."""
        self._record.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.run / "up.json"
