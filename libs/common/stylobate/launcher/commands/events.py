"""`stylobate events dead`: what hooks gave up, to look at, to run again or to forget."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import orjson
import typer

from stylobate.hooks.port import HookStore
from stylobate.launcher.output import CommandError, console, print_line
from stylobate.launcher.schemas import in_schemas, services_with

T = TypeVar("T")

_MOST = 10_000
"""Letters that are run again at once."""


events = typer.Typer()
dead = typer.Typer(no_args_is_help=True, help="Events that hooks gave up.")
events.add_typer(dead, name="dead")

_IDS = typer.Argument(help="Their ids, as `list` shows them.")


@dead.command("list")
def listing(
    hook: Annotated[str, typer.Option(help="Only those of this hook, as `hooks list` names it.")] = "",
    most: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
) -> None:
    """Print what hooks gave up, the newest first."""
    letters = _run(lambda store: store.dead_letters(hook=hook, most=most))
    if not letters:
        console().print("no dead letters" + (f" of {hook}" if hook else ""))
    for letter in letters:
        what = f"{letter.event.type}  {letter.event.subject}" if letter.event else f"events up to {letter.number} were gone"
        line = f"{letter.id}  {letter.time:%Y-%m-%d %H:%M:%S}  {letter.hook}  {what}  {letter.error}"
        console().print(line, highlight=False, markup=False)


@dead.command()
def show(letter: Annotated[int, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Print one whole, with its event, as JSON."""
    letters = _run(lambda store: store.dead_letters(ids=[letter]))
    if not letters:
        raise _missing([letter])
    (found,) = letters
    names = ("id", "hook", "source", "partition", "number", "attempts", "time", "error")
    event = orjson.Fragment(found.event.json()) if found.event else None
    told = {name: getattr(found, name) for name in names} | {"event": event}
    print_line(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode())


@dead.command()
def redrive(
    letters: Annotated[list[int] | None, _IDS] = None,
    hook: Annotated[str, typer.Option(help="All that this hook gave up.")] = "",
) -> None:
    """Let the hooks run on them again, behind what else of the same subject waits."""
    ids = letters or []
    if bool(ids) == bool(hook):
        raise CommandError("say which: ids, as `events dead list` shows them, or --hook NAME for all of a hook")

    async def redriven(store: HookStore) -> list[int]:
        found = await store.dead_letters(hook=hook, ids=ids, most=_MOST)
        return await store.redrive([letter.id for letter in found if letter.event is not None])

    done = _run(redriven)
    console().print(f"{len(done)} run again within ten seconds")
    if left := sorted(set(ids) - set(done)):
        raise CommandError(f"not run again: {_named(left)}; no such letter, a gap, or its hook is not there any more")


@dead.command()
def drop(letters: Annotated[list[int], _IDS]) -> None:
    """Forget them."""
    done = _run(lambda store: store.drop(letters))
    console().print(f"{len(done)} forgotten")
    if left := sorted(set(letters) - set(done)):
        raise _missing(left)


def _missing(ids: Sequence[int]) -> CommandError:
    return CommandError(f"no dead letter {_named(ids)}; `stylobate events dead list` shows them")


def _named(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def _run(ask: Callable[[HookStore], Awaitable[list[T]]]) -> list[T]:
    """Return what the stores of all services answer together."""
    answers = in_schemas(services_with("hooks"), lambda _, storage: ask(storage.hooks()))
    return [found for answer in answers for found in answer]
