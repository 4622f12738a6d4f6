"""`stylobate states`."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import grpc.aio
import typer

from stylobate.api.state.v1 import state_keeping_service_pb2 as pb
from stylobate.api.state.v1.state_keeping_service_pb2_grpc import StateKeepingServiceStub
from stylobate.declarations import Declarations, load_declarations, states_file
from stylobate.declarations.diagram import diagram as draw
from stylobate.declarations.model import Severity
from stylobate.declarations.recorded import check_recorded
from stylobate.declarations.section import did_you_mean
from stylobate.errors import DatabaseUnavailableError, StylobateError, UnavailableError
from stylobate.identity import DEFAULT_TENANT
from stylobate.launcher.carrying import give_out, take_in
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError, console

states = typer.Typer()
states.command("export")(give_out)
states.command("import")(take_in)

_NAMESPACE = typer.Argument(help="The namespace, as states.yaml names it.")
_NAMESPACES = typer.Argument(help="Namespaces; without any all durable ones that the modules here declare.")
MAIN = "main"
"""What the first database of the service is called."""
_STEP_S = 60.0
"""How long one step may take."""
_SAY_EVERY_S = 2.0
_PATIENCE_S = 90.0


@states.command()
def migrate(namespace: Annotated[str, _NAMESPACE]) -> None:
    """Move stored objects to the schema version of today, beside the traffic; begun anew, it passes over what was moved.

    Names each object that cannot be moved, and exits non-zero if there is one.
    """
    run = _Run(namespace, "moved")

    async def step(stub: Any, place: str) -> str:
        found: pb.MigrateStatesResponse = await stub.MigrateStates(
            pb.MigrateStatesRequest(namespace=namespace, place=place), timeout=_STEP_S
        )
        run.note(found.looked, found.migrated, found.findings)
        run.version = found.schema_version
        return found.next_place

    _go_through(step)
    moved = f"{run.looked} keys looked at, {run.done} objects moved to schema version {run.version}"
    console().print(f"{namespace}: {moved}; {run.amiss} cannot be" if run.amiss else f"{namespace}: {moved}")
    if run.amiss:
        raise typer.Exit(1)


@states.command()
def move(
    namespace: Annotated[str, _NAMESPACE],
    database: Annotated[str, typer.Argument(help="Where to, as STYLOBATE_STATE_DATABASES names it; main: the first one.")],
) -> None:
    """Move a namespace to another database, with versions, history, owners and timers; begun anew, it goes on.

    From its beginning nobody can write the namespace, until the service runs with STYLOBATE_STATE_PLACES saying where it stands.
    A move to where it stands takes back one that has not ended.
    """
    objects = versions = 0
    said_at = time.monotonic()
    is_taken_back = False

    async def step(stub: Any, place: str) -> str:
        nonlocal objects, versions, said_at, is_taken_back
        request = pb.MoveStatesRequest(namespace=namespace, database=database, place=place)
        found: pb.MoveStatesResponse = await stub.MoveStates(request, timeout=_STEP_S)
        objects, versions, is_taken_back = objects + found.objects, versions + found.versions, found.taken_back
        if time.monotonic() >= said_at + _SAY_EVERY_S:
            said_at = time.monotonic()
            typer.echo(f"{namespace}: {objects} objects, {versions} versions carried", err=True)
        return found.next_place

    _go_through(step, patience_s=_PATIENCE_S)
    if is_taken_back:
        console().print(f"{namespace}: the move is taken back, it stands in {database}", highlight=False)
        return
    console().print(f"{namespace}: {objects} objects with {versions} versions carried to {database}", highlight=False)
    setting = (
        f"leave {namespace} out of STYLOBATE_STATE_PLACES"
        if database == MAIN
        else f"set STYLOBATE_STATE_PLACES: {namespace}={database}"
    )
    console().print(f"now {setting}", highlight=False)


@states.command()
def places() -> None:
    """Show in which database each namespace of the running platform stands, and where a move has left something."""

    async def ask(channel: grpc.aio.Channel) -> pb.ListStatePlacesResponse:
        found: pb.ListStatePlacesResponse = await StateKeepingServiceStub(channel).ListStatePlaces(
            pb.ListStatePlacesRequest(), timeout=_STEP_S
        )
        return found

    found = RunningService("state").ask(ask)
    for one in found.places:
        moving = f", on its way to {one.moving_to}" if one.moving_to else ""
        left = f", objects of it left in {', '.join(one.left_in)}" if one.left_in else ""
        console().print(f"{one.namespace}: {one.database}{moving}{left}", highlight=False)
    if found.away:
        raise CommandError(f"{', '.join(found.away)} does not answer: what it has is not said")


@states.command()
def clear(
    namespace: Annotated[str, _NAMESPACE],
    database: Annotated[str, typer.Argument(help="Which it has left, as `states places` names it.")],
) -> None:
    """Take away what a move has left of a namespace in a database, for good; begun anew, it goes on.

    Of events stays what happened to which key. Hooks that have not dealt with them hear no data: look at `hooks list` first.
    """

    async def step(stub: Any, place: str) -> str:
        request = pb.ClearStatesRequest(namespace=namespace, database=database, place=place)
        found: pb.ClearStatesResponse = await stub.ClearStates(request, timeout=_STEP_S)
        return found.next_place

    _go_through(step, patience_s=_PATIENCE_S)
    console().print(f"{namespace}: nothing of it is left in {database}", highlight=False)


@states.command()
def check(
    namespaces: Annotated[list[str] | None, _NAMESPACES] = None,
    live: Annotated[bool, typer.Option("--live", help="Look at the objects that the running platform holds.")] = False,
) -> None:
    """Print every finding about states.yaml; with --live name each stored object that is not what is declared there.

    Exits non-zero when there is an error, or such an object.
    """
    declared = _declared()
    if live:
        kept = [name for name, found in declared.namespaces.items() if found.ttl is None]
        amiss = sum([_check_live(namespace) for namespace in namespaces or kept])
    else:
        if namespaces:
            raise CommandError("namespaces are named together with --live; the files are looked at as a whole")
        amiss = _check_files(declared)
    if amiss:
        raise typer.Exit(1)


@states.command()
def erase(
    namespace: Annotated[str, _NAMESPACE],
    key: Annotated[str, typer.Argument(help="The object's key.")],
    tenant: Annotated[str, typer.Option(help="Whose it is.")] = DEFAULT_TENANT,
) -> None:
    """Take the data of everything that ever stood at a key away for good, but for an object that stands there now.

    Versions, and what happened, stay. Exits non-zero where an object keeps its data: delete it first.
    """

    async def ask(channel: grpc.aio.Channel) -> pb.EraseStateResponse:
        request = pb.EraseStateRequest(tenant=tenant, namespace=namespace, key=key)
        found: pb.EraseStateResponse = await StateKeepingServiceStub(channel).EraseState(request, timeout=_STEP_S)
        return found

    erased = RunningService("state").ask(ask)
    console().print(f"{namespace}/{key}: {erased.versions} versions erased", highlight=False, markup=False)
    if erased.living_version:
        said = f"{namespace}/{key} stands there, at version {erased.living_version}, with its data: delete it, and erase it then"
        typer.echo(said, err=True)
        raise typer.Exit(1)


@states.command()
def diagram(namespace: Annotated[str, _NAMESPACE]) -> None:
    """Print the machine of a namespace as a diagram in Mermaid's language."""
    known = _declared().namespaces
    if namespace not in known:
        raise CommandError(f"no module here declares the namespace {namespace!r}{did_you_mean(namespace, known)}")
    typer.echo(draw(known[namespace]), nl=False)


def _declared() -> Declarations:
    return load_declarations(os.environ.get("STYLOBATE_MODULES", str(Path("modules"))))


def _check_files(declared: Declarations) -> int:
    """Print what is found; return how many errors there are."""
    findings = [finding for finding in declared.findings if Path(finding.file).name == states_file.FILE]
    findings += [finding for module in declared.modules for finding in check_recorded(module)]
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding}")
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if not errors:
        console().print("no errors" if findings else "the namespaces are fine")
    return len(errors)


def _check_live(namespace: str) -> int:
    run = _Run(namespace, "amiss")

    async def step(stub: Any, place: str) -> str:
        found: pb.CheckStatesResponse = await stub.CheckStates(
            pb.CheckStatesRequest(namespace=namespace, place=place), timeout=_STEP_S
        )
        run.note(found.looked, len(found.findings), found.findings)
        return found.next_place

    _go_through(step)
    console().print(f"{namespace}: {run.looked} keys looked at, {run.amiss or 'no'} objects amiss")
    return run.amiss


def _go_through(step: Callable[[Any, str], Awaitable[str]], *, patience_s: float = 0.0) -> None:
    """Take one step after the other, each from the place that the one before returned, to the end of the namespace.

    :param patience_s: how long a step is tried again while nobody answers: what was killed may hold a database.
    """

    async def run(channel: grpc.aio.Channel) -> None:
        stub, place, since = StateKeepingServiceStub(channel), "", time.monotonic()
        has_answered = False
        while True:
            try:
                place = await step(stub, place)
            except StylobateError as error:
                has_answered |= error.reason == DatabaseUnavailableError.reason
                is_passing = has_answered and error.reason in {UnavailableError.reason, DatabaseUnavailableError.reason}
                if not is_passing or time.monotonic() > since + patience_s:
                    raise
                typer.echo(f"waiting: {error.detail}", err=True)
                await asyncio.sleep(1)
                continue
            since, has_answered = time.monotonic(), True
            if not place:
                return

    RunningService("state").ask(run)


class _Run:
    """Prints what is found, and on standard error now and then how far it is."""

    def __init__(self, namespace: str, what: str) -> None:
        self._namespace = namespace
        self._what = what
        self.looked = 0
        self.done = 0
        self.amiss = 0
        self.version = 0
        self._said_at = time.monotonic()

    def note(self, looked: int, done: int, findings: Any) -> None:
        """Take in a step."""
        self.looked += looked
        self.done += done
        for finding in findings:
            self.amiss += 1
            typer.echo(self._line(finding))
        if time.monotonic() >= self._said_at + _SAY_EVERY_S:
            self._said_at = time.monotonic()
            typer.echo(f"{self._namespace}: {self.looked} looked at, {self.done} {self._what}", err=True)

    def _line(self, finding: pb.StateFinding) -> str:
        tenant = "" if finding.tenant == DEFAULT_TENANT else f" of {finding.tenant}"
        where = f"{self._namespace}/{finding.key}{tenant} (version {finding.version}, schema version {finding.schema_version})"
        return f"{where}: {finding.problem}"
