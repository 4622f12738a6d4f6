"""`stylobate audit`: what was done by whom."""

import re
from collections.abc import Awaitable, Iterator
from functools import partial
from typing import Annotated, Any

import orjson
import typer

from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.api.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from stylobate.audit.merged import OUTCOMES, merged, told
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError, console, print_line
from stylobate.launcher.times import moment
from stylobate.services import audited

audit = typer.Typer()

_PAGE = 500
_SERVICE = typer.Option(help="Only records of this service, such as auth; without it of all.")
_ACTOR = typer.Option(help="Only what this principal did: an id.")
_ACTION = typer.Option(help="Only what has this name; `*` at its end stands for the rest: `auth.*`.")
_TARGET = typer.Option(help="Only what was done to this: `user:<id>`.")
_OUTCOME = typer.Option(help="Only what ended so: success, denied or failure.")
_SINCE = typer.Option(help="Not before this: a time (RFC 3339), or how long ago: `90m`, `7d`.")
_KNOWN = typer.Option(
    help="A head that was printed or logged earlier, `auth:12:<hash>`, and must still be in the chain; may be repeated."
)
_HEAD = re.compile(r"(\w+):([1-9]\d{0,17}):([0-9a-f]{64})")
_UNTIL = typer.Option(help="Before this, likewise.")


@audit.command("list")
def listing(  # noqa: PLR0917  each an option of the command
    service: Annotated[str, _SERVICE] = "",
    actor: Annotated[str, _ACTOR] = "",
    action: Annotated[str, _ACTION] = "",
    target: Annotated[str, _TARGET] = "",
    outcome: Annotated[str, _OUTCOME] = "",
    since: Annotated[str, _SINCE] = "",
    until: Annotated[str, _UNTIL] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many at most.")] = 50,
) -> None:
    """Print what was done, the latest first."""
    request = _request(actor, action, target, outcome, since, until)
    found = False
    for number, record in enumerate(_records(service, request), 1):
        found = True
        via = f" via {record['via']}" if record["via"] else ""
        ended = record["outcome"] + (f" {record['reason']}" if record["reason"] else "")
        parts = (
            f"{record['time']:%Y-%m-%d %H:%M:%S}",
            record["service"],
            record["action"],
            record["target"],
            ended,
            done_by(record) + via,
        )
        print_line("  ".join(filter(None, parts)))
        if number == lines:
            break
    if not found:
        console().print("nothing was recorded")


def done_by(record: dict[str, Any]) -> str:
    """Return who did it; what the platform does by itself has a rule, as a ban of who was refused too often."""
    rule = record["detail"].get("rule")
    return record["actor"] or (f"rule {rule}" if rule else "nobody")


@audit.command()
def export(  # noqa: PLR0917
    service: Annotated[str, _SERVICE] = "",
    actor: Annotated[str, _ACTOR] = "",
    action: Annotated[str, _ACTION] = "",
    target: Annotated[str, _TARGET] = "",
    outcome: Annotated[str, _OUTCOME] = "",
    since: Annotated[str, _SINCE] = "",
    until: Annotated[str, _UNTIL] = "",
) -> None:
    """Print every record as a line of JSON, the latest first."""
    for record in _records(service, _request(actor, action, target, outcome, since, until)):
        typer.echo(orjson.dumps(record).decode())


@audit.command()
def verify(
    service: Annotated[str, _SERVICE] = "",
    known: Annotated[list[str] | None, _KNOWN] = None,
) -> None:
    """Hold all records against the chain that they were sealed in: what was changed, taken away, put in or moved is found."""
    blocks = _known(known or [])
    whole = [_verified(name, running, blocks.get(name)) for name, running in _asked(service).items()]
    if not all(whole):
        raise typer.Exit(1)


def _verified(name: str, running: RunningService, known: pb.Block | None) -> bool:
    """Verify a service's records, stretch by stretch; say what was found, and return whether all is as it was sealed."""
    request = pb.VerifyRecordsRequest(service=name, known=known)
    blocks, records, deleted, is_whole = 0, 0, "", True
    while True:
        page = running.ask(partial(_verify, request))
        blocks, records, is_whole = blocks + page.blocks, records + page.records, is_whole and not page.faults
        for fault in page.faults:
            print_line(f"{name}  block {fault.block}: {fault.detail}")
        if page.HasField("deleted"):
            deleted = f"; those until {page.deleted.time.ToDatetime():%Y-%m-%d %H:%M:%S} were deleted by retention"
        if not page.reached:
            break
        request = pb.VerifyRecordsRequest(service=name, after=page.reached)
    ended = "as they were sealed" if is_whole else "NOT as they were sealed"
    head = f"head {name}:{page.head.number}:{page.head.hash}" if page.HasField("head") else "nothing is sealed yet"
    print_line(f"{name}  {records} records in {blocks} blocks: {ended}, {page.unsealed} not sealed yet{deleted}; {head}")
    return is_whole


def _verify(request: pb.VerifyRecordsRequest, channel: Any) -> Awaitable[pb.VerifyRecordsResponse]:
    answer: Awaitable[pb.VerifyRecordsResponse] = AuditServiceStub(channel).VerifyRecords(request)
    return answer


def _known(texts: list[str]) -> dict[str, pb.Block]:
    found = {}
    for text in texts:
        match = _HEAD.fullmatch(text)
        if match is None or match[1] not in audited():
            raise CommandError(f"--known: {text!r} is not a head as `stylobate audit verify` prints it: auth:12:<64 hex digits>")
        found[match[1]] = pb.Block(number=int(match[2]), hash=match[3])
    return found


def _asked(service: str) -> dict[str, RunningService]:
    """Return the services that are asked. Raises CommandError."""
    kept = audited()
    if service and service not in kept:
        raise CommandError(f"--service: one of {', '.join(kept)}")
    return {name: RunningService(name) for name in ([service] if service else kept)}


def _request(  # noqa: PLR0917
    actor: str, action: str, target: str, outcome: str, since: str, until: str
) -> pb.ListRecordsRequest:
    if outcome and outcome not in OUTCOMES:
        raise CommandError(f"--outcome: one of {', '.join(OUTCOMES)}")
    request = pb.ListRecordsRequest(
        actor=actor, action=action, target=target, outcome=OUTCOMES.get(outcome, pb.OUTCOME_UNSPECIFIED), page_size=_PAGE
    )
    if since:
        request.since.FromDatetime(moment("--since", since))
    if until:
        request.until.FromDatetime(moment("--until", until))
    return request


def _records(service: str, request: pb.ListRecordsRequest) -> Iterator[dict[str, Any]]:
    """Yield records, the latest first, page by page."""
    services = _asked(service)
    while True:
        pages = {}
        for name, running in services.items():
            request.service = name
            pages[name] = running.ask(lambda channel: AuditServiceStub(channel).ListRecords(request))
        found = merged(pages, _PAGE)
        for name, record in found.records:
            yield told(name, record)
        if not found.reached:
            return
        request.before = found.reached
