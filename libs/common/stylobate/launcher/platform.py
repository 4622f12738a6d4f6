"""The platform of `stylobate up` and `dev`: start everything, say where it is, keep it running, stop all.

A program of its own, ``python -m stylobate.launcher.platform``: the command becomes it, see :mod:`stylobate.launcher.lasting`.
"""

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stylobate.config import ConfigError, Environment
from stylobate.identity.service_keys import generate_service_keys
from stylobate.launcher.detached import invite
from stylobate.launcher.embedded import ProcessRecord
from stylobate.launcher.environment import LocalServers
from stylobate.launcher.foreign import set_aside_libpq
from stylobate.launcher.output import CommandError, plain_errors, prepare_streams, print_line, show_addresses, styled, warn
from stylobate.launcher.ports import Layout
from stylobate.launcher.process import load_host_settings, run_to_end, start_logs, until_stopped
from stylobate.launcher.project import RESTART_SIGNAL, Project, RunRecord
from stylobate.launcher.setting_findings import findings, unknown
from stylobate.launcher.standing import complaints_of
from stylobate.launcher.supervisor import Supervisor
from stylobate.launcher.up_layout import layout_of
from stylobate.launcher.up_options import UpOptions
from stylobate.logs import Logs
from stylobate.services import installed_services, key_holders

if TYPE_CHECKING:
    from stylobate.launcher.fleet import Fleet
    from stylobate.launcher.reload import Change

_GC_THRESHOLD = 50_000
_LONG_S = 10.0
"""After which it is not an ordinary start any more."""


def main(arguments: Iterable[str]) -> None:
    """Run the platform of the folder that this is in, with :class:`UpOptions` as arguments, until it is told to stop."""
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    prepare_streams()
    with plain_errors():
        options, project = UpOptions.of(arguments), Project(Path.cwd())
        _Up(project, layout_of(project, options), options).run()


def _import_services() -> Callable[..., Coroutine[Any, Any, None]]:
    """Import what runs in this process, and return what hosts it. Takes as long as the servers take to start."""
    from stylobate.launcher.serving import host  # noqa: PLC0415

    for spec in installed_services().values():
        spec.load()
    return host


class _Up:
    """One run of the platform."""

    def __init__(self, project: Project, layout: Layout, options: UpOptions) -> None:
        """Describe it; nothing runs yet."""
        self._is_read = options.is_read
        self._inviting: asyncio.Task[None] | None = None
        self._project = project
        self._layout = layout
        self._watch = options.watch
        self._in_process = len(layout.placements) == 1 and not options.watch and layout.mode == "one process"
        self._began = time.monotonic()
        self._is_ready = False
        self._servers = LocalServers.at(project, layout.endpoints)
        if self._servers.postgres is not None and (ignored := set_aside_libpq(os.environ)):
            warn(f"ignored from the environment: {', '.join(ignored)}")
        self._environment = self._servers.environment()
        if self._environment["STYLOBATE_ENVIRONMENT"] == Environment.DEVELOPMENT:
            self._environment.setdefault("STYLOBATE_PUBLIC_URL", layout.endpoints["gateway"])
        self._supervisor: Supervisor
        self._logs: Logs

    def run(self) -> None:
        """Run until Ctrl-C or `stylobate down`."""
        with self._project.claimed() as is_ours:
            if not is_ours:
                raise CommandError("another `stylobate up` is starting this project at this moment")
            self._run()

    def _run(self) -> None:
        os.environ.update(self._environment)
        told = load_host_settings(self._layout.placements[0], without_vault=self._servers.vault is not None)
        # a service in a process of its own would only die of them, again and again; what a Vault says is known when it runs
        if self._servers.vault is None and (found := findings(told.sources)):
            raise ConfigError(found)
        if told.settings.http_tls_certificate:
            said = "STYLOBATE_HTTP_TLS_CERTIFICATE: is for `stylobate serve`; `up` serves this machine, in plain text"
            raise ConfigError([said])
        for line in unknown(os.environ):
            warn(line)
        self._project.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        fleet = None if self._in_process else self._fleet()  # forks: no thread yet
        self._logs = start_logs(told.settings, "platform", "platform", self._project.logs / "platform.log")
        generate_service_keys(self._project.identity, key_holders())
        try:
            run_to_end(lambda: until_stopped(lambda: self._work(fleet)))
        finally:
            self._project.forget()
            self._logs.close()
        print_line("stopped")

    def _fleet(self) -> "Fleet":
        from stylobate.launcher.fleet import Fleet  # noqa: PLC0415  one process alone needs none

        return Fleet(self._layout, self._environment, self._project.logs)

    async def _work(self, fleet: "Fleet | None") -> None:
        async with Supervisor.open(self._save) as supervisor:
            self._supervisor = supervisor
            if fleet is None:
                _, host = await asyncio.gather(self._start_servers(), asyncio.to_thread(_import_services))
                await host(self._layout.placements[0], self._logs, self._ready)
                return
            async with fleet.kept(supervisor), asyncio.TaskGroup() as group:
                asked = asyncio.Event()
                saved: asyncio.Queue[Change] = asyncio.Queue()
                asyncio.get_running_loop().add_signal_handler(RESTART_SIGNAL, asked.set)
                if self._watch:  # from now on: what is saved while everything starts counts too
                    group.create_task(_note_changes(self._project, saved))
                await self._start_servers()
                async with fleet.start():
                    self._ready()
                    if self._watch:
                        from stylobate.launcher.commands.logs import show_work  # noqa: PLC0415  with its colours

                        group.create_task(show_work(self._project))
                        group.create_task(self._reload(fleet, saved))
                    await self._restart(fleet, asked)

    async def _start_servers(self) -> None:
        names = ", ".join(type(server).__name__.removeprefix("Embedded") for server in self._servers.all)
        if names:
            self._say(f"starting {names}")
        await self._supervisor.start_servers(self._servers.all)
        if self._servers.vault is not None:
            told = await asyncio.to_thread(load_host_settings, self._layout.placements[0])
            if found := await asyncio.to_thread(findings, told.sources):
                raise ConfigError(found)
        self._say(f"starting {', '.join(installed_services())} ({self._layout.mode})")
        asyncio.get_running_loop().call_later(_LONG_S, self._say_that_it_waits)

    async def _restart(self, fleet: "Fleet", asked: asyncio.Event) -> None:
        """Replace the processes, one after the other, each time it is asked for."""
        while await asked.wait():
            asked.clear()
            self._say("restarting one process after the other")
            await fleet.restart()
            self._say("restarted")

    async def _reload(self, fleet: "Fleet", saved: "asyncio.Queue[Change]") -> None:
        """Replace all processes each time something was saved, and say what is wrong with it."""
        while change := await saved.get():
            self._say(f"{', '.join(change.paths)} changed; restarting")
            complaints = complaints_of(await fleet.reload(afresh=change.is_platform))
            for line in complaints:
                print_line(f"         {styled(line, 'red')}")
            self._say("running again, without what is broken" if complaints else "ready again")

    def _save(self) -> None:
        self._project.save(
            RunRecord(
                supervisor=ProcessRecord.of_this("supervisor"),
                mode=self._layout.mode,
                endpoints=self._layout.endpoints,
                children=self._supervisor.children,
                is_ready=self._is_ready,
            )
        )

    def _ready(self, _: object = None) -> None:
        self._say("ready")
        print_line("")
        show_addresses(self._layout.endpoints)
        print_line("")
        print_line(f"  try it:  {_first_curl(self._layout.endpoints['gateway'])}")
        hints = "see it:  stylobate demo    what happens:  stylobate logs -f    stop:  Ctrl-C or stylobate down"
        print_line(f"  {hints}\n")
        self._is_ready = True
        self._save()  # `--detach` waits for it
        if self._is_read:
            self._inviting = asyncio.create_task(self._invite())

    async def _invite(self) -> None:
        await invite(self._layout)

    def _say_that_it_waits(self) -> None:
        if not self._is_ready:
            self._say("not ready yet; `stylobate logs` says what is waited for")

    def _say(self, text: str) -> None:
        print_line(f"{styled(f'{time.monotonic() - self._began:5.1f} s', 'dim')}  {text}")


async def _note_changes(project: Project, saved: "asyncio.Queue[Change]") -> None:
    from stylobate.launcher.reload import changes  # noqa: PLC0415  and what watches files

    async for change in changes(project.folder):
        saved.put_nowait(change)


def _first_curl(gateway: str) -> str:
    """Return a first request to try."""
    return (
        f"curl -sS {gateway}/v1/auth/register -H 'content-type: application/json' "
        """-d '{"email": "ada@example.com", "password": "correct horse battery"}'"""
    )


if __name__ == "__main__":
    main(sys.argv[1:])
