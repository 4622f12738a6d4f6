"""`stylobate up` and `dev`: start everything, say where it is, keep it running, stop all."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from stylobate.app.listening import bind
from stylobate.config import ConfigError, Environment
from stylobate.declarations.sources import MODULE_FILE, module_folders
from stylobate.identity.service_keys import generate_service_keys
from stylobate.launcher.commands.config import findings, unknown
from stylobate.launcher.commands.logs import show_work
from stylobate.launcher.commands.status import ask, complaints_of
from stylobate.launcher.embedded import ProcessRecord
from stylobate.launcher.embedded.mongodb import binary as mongod
from stylobate.launcher.environment import MONGODB, VAULT, LocalServers
from stylobate.launcher.foreign import set_aside_libpq
from stylobate.launcher.output import CommandError, addresses, console, warn
from stylobate.launcher.ports import Layout, Ports, one_process, split, workers
from stylobate.launcher.process import load_host_settings, run_to_end, start_logs, until_stopped
from stylobate.launcher.project import RESTART_SIGNAL, Project, RunRecord
from stylobate.launcher.supervisor import Supervisor
from stylobate.logs import Logs
from stylobate.services import installed_services, key_holders

if TYPE_CHECKING:
    from stylobate.launcher.fleet import Fleet
    from stylobate.launcher.reload import Change

_IS_DETACHED = "--is-detached"
"""Tells the process in the background that its output is a file: what is for one person only does not belong there."""
_LONG_S = 10.0
"""After which it is not an ordinary start any more."""


class DatabaseKind(StrEnum):
    """What the platform keeps its data in."""

    POSTGRESQL = "postgresql"
    MONGODB = "mongodb"


Split = Annotated[bool, typer.Option("--split", help="A process per service, over gRPC.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Identical processes on the same ports.")]
Vault = Annotated[bool, typer.Option("--vault", help="With OpenBao beside it, for settings and secrets.")]
Database = Annotated[
    DatabaseKind | None,
    typer.Option("--database", help="Which one to start; without it the one that this project has data of, else PostgreSQL."),
]
Port = Annotated[int, typer.Option("--port", help="First of a row of ports to use instead of 8080, 9090, 8081.")]


def up(  # noqa: PLR0917  each an option of the command
    split: Split = False,
    workers: Workers = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready; `stylobate down` stops it.")] = False,
    port: Port = 0,
    vault: Vault = False,
    database: Database = None,
    is_detached: Annotated[bool, typer.Option(_IS_DETACHED, hidden=True)] = False,
) -> None:
    """Run the platform in the foreground, or with ``detach`` in the background until `stylobate down`."""
    _run(is_split=split, count=workers, port=port, vault=vault, database=database, detach=detach, is_detached=is_detached)


def dev(split: Split = False, workers: Workers = 1, port: Port = 0, vault: Vault = False, database: Database = None) -> None:
    """Run it in processes of its own, which are replaced when a file is saved."""
    _run(is_split=split, count=workers, port=port, vault=vault, database=database, watch=True)


def _run(
    *,
    is_split: bool,
    count: int,
    port: int,
    vault: bool,
    database: DatabaseKind | None,
    detach: bool = False,
    is_detached: bool = False,
    watch: bool = False,
) -> None:
    if vault and os.environ.get("STYLOBATE_VAULT_ADDRESS"):
        raise CommandError("STYLOBATE_VAULT_ADDRESS is set: that Vault is used, and --vault would start another")
    if database and os.environ.get("STYLOBATE_DATABASE_URL"):
        raise CommandError("STYLOBATE_DATABASE_URL is set: that database is used, and --database would start another")
    project = Project(Path.cwd())
    _refuse_second(project)
    _refuse_missing_modules(project)
    asyncio.run(_stop_leftovers(project))  # before the ports are looked at: they hold them
    layout = _layout(project, is_split=is_split, count=count, port=port, watch=watch)
    if vault:
        ports = Ports(port)
        layout.endpoints[VAULT] = f"http://{ports.at(ports.vault)}"
        bind(ports.at(ports.vault)).close()
    if (database or _kind_of(project)) is DatabaseKind.MONGODB and not os.environ.get("STYLOBATE_DATABASE_URL"):
        ports = Ports(port)
        mongod()  # raises EmbeddedServerError, which says where to get one
        layout.endpoints[MONGODB] = f"mongodb://{ports.at(ports.mongodb)}"
        bind(ports.at(ports.mongodb)).close()
    if detach:
        _detached(project)
        _say_invitation(asyncio.run(_invitation(layout)))
        return
    _Up(project, layout, watch=watch, is_read=not is_detached).run()


def _kind_of(project: Project) -> DatabaseKind:
    """Return which database the project has data of; PostgreSQL where it has of both, or none."""
    is_on_mongodb = (project.data / MONGODB).is_dir() and not (project.data / "postgres").is_dir()
    return DatabaseKind.MONGODB if is_on_mongodb else DatabaseKind.POSTGRESQL


def _layout(project: Project, *, is_split: bool, count: int, port: int, watch: bool) -> Layout:
    ports = Ports(port)
    if is_split:
        layout = split(ports, project.data, project.run, count)
    elif count > 1 or watch:
        layout = workers(ports, project.data, project.run, count)
    else:
        layout = one_process(ports, project.data)
    listening = {address for placement in layout.placements for address in (*placement.grpc, placement.http) if address}
    for address in sorted(listening | {layout.endpoints["admin"].removeprefix("http://")}):
        if not address.startswith("unix:"):
            bind(address).close()  # a plain socket: tells also of those that would share the port with us
    return layout


def _refuse_second(project: Project) -> None:
    if (running := project.alive()) is not None:
        raise CommandError(f"this project is running already at {running.endpoints['gateway']} (pid {running.supervisor.pid})")


def _refuse_missing_modules(project: Project) -> None:
    folders = os.environ.get("STYLOBATE_MODULES", "")
    if not folders and not (project.folder / "modules").is_dir():
        raise CommandError(f"there is no folder `modules` in {project.folder}; `stylobate init` makes a project")
    absent = [finding for finding in module_folders(folders)[1] if Path(finding.file).name != MODULE_FILE]
    if absent:
        raise ConfigError([f"STYLOBATE_MODULES: {finding}" for finding in absent])


async def _stop_leftovers(project: Project) -> None:
    """Stop what a killed supervisor left behind, all at once: each of them may hang."""
    running = project.running()
    left = [child for child in running.children if child.is_running] if running is not None else []
    for child in left:
        console().print(f"stopping {child.name}, left behind by an earlier run")
    await asyncio.gather(*(child.stop() for child in left))


def _import_services() -> Callable[..., Coroutine[Any, Any, None]]:
    """Import what runs in this process, and return what hosts it. Takes as long as the servers take to start."""
    from stylobate.launcher.serving import host  # noqa: PLC0415

    for spec in installed_services().values():
        spec.load()
    return host


class _Up:
    """One run of the platform."""

    def __init__(self, project: Project, layout: Layout, *, watch: bool, is_read: bool = True) -> None:
        """Describe it; nothing runs yet.

        :param is_read: whether what is printed is for a person: else it stands in a file.
        """
        self._is_read = is_read
        self._inviting: asyncio.Task[None] | None = None
        self._project = project
        self._layout = layout
        self._watch = watch
        self._in_process = len(layout.placements) == 1 and not watch and layout.mode == "one process"
        self._console = console()
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
        self._console.print("stopped")

    def _fleet(self) -> "Fleet":
        from stylobate.launcher.fleet import Fleet  # noqa: PLC0415  and the HTTP client that it asks its processes with

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
                        group.create_task(show_work(self._project, self._console))
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
                self._console.print(f"         [red]{escape(line)}[/red]", soft_wrap=True)
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
        self._console.print()
        self._console.print(addresses(self._layout.endpoints))
        self._console.print()
        self._console.print(f"  try it:  {first_curl(self._layout.endpoints['gateway'])}", soft_wrap=True)
        hints = "see it:  stylobate demo    what happens:  stylobate logs -f    stop:  Ctrl-C or stylobate down"
        self._console.print(f"  {hints}\n", soft_wrap=True)
        self._is_ready = True
        self._save()  # `--detach` waits for it
        if self._is_read:
            self._inviting = asyncio.create_task(self._invite())

    async def _invite(self) -> None:
        _say_invitation(await _invitation(self._layout))

    def _say_that_it_waits(self) -> None:
        if not self._is_ready:
            self._say("not ready yet; `stylobate logs` says what is waited for")

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {escape(text)}", soft_wrap=True)


async def _invitation(layout: Layout) -> str:
    """Return what to say of the first administrator; empty: there is one."""
    from stylobate.launcher.first_admin import told_at_start  # noqa: PLC0415  calls auth: the supervisor does nothing else like it

    return await told_at_start(layout.endpoints["gateway"])


def _say_invitation(text: str) -> None:
    if text:
        console().print("\n".join(f"  {line}" for line in text.splitlines()), markup=False, soft_wrap=True)
        console().print()


async def _note_changes(project: Project, saved: "asyncio.Queue[Change]") -> None:
    from stylobate.launcher.reload import changes  # noqa: PLC0415  and what watches files

    async for change in changes(project.folder):
        saved.put_nowait(change)


def first_curl(gateway: str) -> str:
    """Return a first request to try."""
    return (
        f"curl -sS {gateway}/v1/auth/register -H 'content-type: application/json' "
        """-d '{"email": "ada@example.com", "password": "correct horse battery"}'"""
    )


def _detached(project: Project) -> None:
    """Start `up` again in a session of its own and wait until it is ready. Raises CommandError with its last words."""
    project.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    output = project.logs / "up.out"
    with output.open("wb") as file:
        arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
        child = subprocess.Popen(  # noqa: S603  ourselves
            [sys.executable, "-m", "stylobate.launcher", *arguments, _IS_DETACHED],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(project, child, output)
    except KeyboardInterrupt:
        child.terminate()  # it is not a part of the terminal's group any more
        child.wait()
        raise


def _wait_until_ready(project: Project, child: "subprocess.Popen[bytes]", output: Path) -> None:
    """Pass on what the child prints until its record says that it has been ready, and its admin port that it is."""
    shown = 0
    while True:
        running = project.running()
        is_ready = running is not None and running.supervisor.pid == child.pid and running.is_ready and ask(running)["ready"]
        text = output.read_text(encoding="utf-8", errors="replace")
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        if is_ready:
            return
        if (code := child.poll()) is not None:
            raise CommandError(f"it ended with code {code}; see {output}")
        time.sleep(0.05)
