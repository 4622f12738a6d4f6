"""`stylobate hooks`: how far durable hooks have come, and setting them back."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from stylobate.app.storage import Storage
from stylobate.launcher.output import CommandError, console
from stylobate.launcher.schemas import in_schemas, services_with
from stylobate.launcher.times import moment
from stylobate.outbox import Position
from stylobate.outbox.port import APART
from stylobate.services import event_sources

hooks = typer.Typer()


@hooks.command("list")
def listing() -> None:
    """Show how far each durable hook has come, what stands aside, and its dead letters."""
    found = in_schemas(services_with("hooks"), lambda _, storage: storage.hooks().listing())
    rows = [row for rows in found for row in rows]
    sources = {row.source for row in rows}
    heads = {source: _end(source) for source in sources}
    if not rows:
        console().print("no durable hook has a position yet")
    for row in rows:
        epoch = f"  epoch {row.position.epoch}" if row.position.epoch else ""
        behind = _behind(row.position, heads[row.source])
        counts = f"{behind} events of the log to go, {row.aside} aside, {row.dead} dead letters"
        console().print(f"{row.hook}  {row.source}  {counts}  moved {row.updated_at:%Y-%m-%d %H:%M:%S}{epoch}", highlight=False)


@hooks.command()
def rewind(
    hook: Annotated[str, typer.Argument(help="Its name, as `hooks list` shows it.")],
    source: Annotated[str, typer.Option("--source", help="Whose log, as `hooks list` shows it.")] = "state",
    start: Annotated[bool, typer.Option("--start", help="To the oldest event that is kept.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Past the newest event: what lies between is not run.")] = False,
    since: Annotated[str, typer.Option("--since", help="Before the first event of this time (RFC 3339), or of `2h` ago.")] = "",
) -> None:
    """Let a durable hook go on from another place of the log; events behind it run again."""
    if (start, end, bool(since)).count(True) != 1:
        raise CommandError("say one of --start, --end and --since TIME")
    begin = _passed(since) if since else None
    if source.partition(APART)[0] not in event_sources():
        raise CommandError(f"{source} keeps no log of events")

    async def place(source: str, storage: Storage) -> Position:
        log = storage.event_log(source)
        if begin is not None:
            return await log.before(begin)
        return await (log.oldest() if start else log.head())

    (position,) = in_schemas([source], place)
    services = services_with("hooks")
    if not any(in_schemas(services, lambda _, storage: storage.hooks().rewind(hook, source, position))):
        raise CommandError(f"no durable hook {hook} has a position in the log of {source}; `stylobate hooks list` names them")
    console().print(f"{hook} goes on in the log of {source} from there within ten seconds")


def _passed(text: str) -> datetime:
    """Read a time. Raises CommandError for one that has not come yet.

    Behind a mistyped year lies every event there is, and what is skipped is never run.
    """
    found = moment("--since", text)
    if found > datetime.now(UTC):
        raise CommandError(f"--since {text} has not come yet; --end goes past the newest event")
    return found


def _end(source: str) -> Position | None:
    """Return the end of a log; None where the further database that it is in does not answer, or is not named here."""
    try:
        (head,) = in_schemas([source], lambda source, storage: storage.event_log(source).head())
    except CommandError:
        if APART not in source:
            raise
        return None
    return head


def _behind(position: Position, head: Position | None) -> str:
    if head is None:
        return "unknown"
    return str(sum(max(0, end - number) for number, end in zip(position.numbers, head.numbers, strict=True)))
