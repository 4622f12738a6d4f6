"""`stylobate audit`: what was done by whom."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
import typer

from stylobate.api.audit.v1 import audit_service_pb2 as pb
from stylobate.api.audit.v1.audit_service_pb2_grpc import AuditServiceStub
from stylobate.audit.merged import OUTCOMES, merged, told
from stylobate.declarations.rules import parse_duration
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError, console
from stylobate.services import audited

audit = typer.Typer()

_PAGE = 500
_LONGEST = timedelta(days=36_500)
_SERVICE = typer.Option(help="Only records of this service, such as auth; without it of all.")
_ACTOR = typer.Option(help="Only what this principal did: an id.")
_ACTION = typer.Option(help="Only what has this name; `*` at its end stands for the rest: `auth.*`.")
_TARGET = typer.Option(help="Only what was done to this: `user:<id>`.")
_OUTCOME = typer.Option(help="Only what ended so: success, denied or failure.")
_SINCE = typer.Option(help="Not before this: a time (RFC 3339), or how long ago: `90m`, `7d`.")
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
        who = record["actor"] or "nobody"
        via = f" via {record['via']}" if record["via"] else ""
        ended = record["outcome"] + (f" {record['reason']}" if record["reason"] else "")
        parts = (f"{record['time']:%Y-%m-%d %H:%M:%S}", record["service"], record["action"], record["target"], ended, who + via)
        console().print("  ".join(filter(None, parts)), highlight=False, markup=False, soft_wrap=True)
        if number == lines:
            break
    if not found:
        console().print("nothing was recorded")


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


def _request(  # noqa: PLR0917
    actor: str, action: str, target: str, outcome: str, since: str, until: str
) -> pb.ListRecordsRequest:
    if outcome and outcome not in OUTCOMES:
        raise CommandError(f"--outcome: one of {', '.join(OUTCOMES)}")
    request = pb.ListRecordsRequest(
        actor=actor, action=action, target=target, outcome=OUTCOMES.get(outcome, pb.OUTCOME_UNSPECIFIED), page_size=_PAGE
    )
    if since:
        request.since.FromDatetime(_time("--since", since))
    if until:
        request.until.FromDatetime(_time("--until", until))
    return request


def _time(option: str, text: str) -> datetime:
    """Read a time, of this machine where it has no offset, or how long ago."""
    try:
        return datetime.now(UTC) - parse_duration(text, longest=_LONGEST)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandError(f"{option}: {text!r} is neither a time (2026-01-31T12:00:00Z) nor how long ago (90m, 7d)") from None


def _records(service: str, request: pb.ListRecordsRequest) -> Iterator[dict[str, Any]]:
    """Yield records, the latest first, page by page."""
    kept = audited()
    if service and service not in kept:
        raise CommandError(f"--service: one of {', '.join(kept)}")
    asked = [service] if service else kept
    services = {name: RunningService(name) for name in asked}
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
