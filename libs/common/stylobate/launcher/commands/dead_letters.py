"""`stylobate events dead`: what hooks gave up, to look at, to run again or to forget."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import orjson

from stylobate.hooks.port import HookStore
from stylobate.hooks.postgres import PostgresHookStore
from stylobate.launcher.faces import CommandError, console
from stylobate.launcher.schemas import WITHIN, answering, schema_of, services_with

T = TypeVar("T")

_MOST = 10_000
"""Letters that are run again at once."""


def listing(hook: str, most: int) -> None:
    """Print dead letters, the newest first."""
    letters = _run(lambda store: store.dead_letters(hook=hook, most=most))
    if not letters:
        console().print("no dead letters" + (f" of {hook}" if hook else ""))
    for letter in letters:
        what = f"{letter.event.type}  {letter.event.subject}" if letter.event else f"events up to {letter.number} were gone"
        line = f"{letter.id}  {letter.time:%Y-%m-%d %H:%M:%S}  {letter.hook}  {what}  {letter.error}"
        console().print(line, highlight=False, markup=False)


def show(letter_id: int) -> None:
    """Print one dead letter whole, as JSON. Raises CommandError when there is no such letter."""
    letters = _run(lambda store: store.dead_letters(ids=[letter_id]))
    if not letters:
        raise _missing([letter_id])
    (letter,) = letters
    told = {
        "id": letter.id,
        "hook": letter.hook,
        "source": letter.source,
        "partition": letter.partition,
        "number": letter.number,
        "attempts": letter.attempts,
        "time": letter.time,
        "error": letter.error,
        "event": orjson.Fragment(letter.event.json()) if letter.event else None,
    }
    console().print(orjson.dumps(told, option=orjson.OPT_INDENT_2).decode(), highlight=False, markup=False, soft_wrap=True)


def redrive(ids: Sequence[int], hook: str) -> None:
    """Let hooks run on these events again, or on all that one hook gave up. Raises CommandError for one that cannot be."""
    if bool(ids) == bool(hook):
        raise CommandError("say which: ids, as `events dead list` shows them, or --hook NAME for all of a hook")

    async def redriven(store: HookStore) -> list[int]:
        found = await store.dead_letters(hook=hook, ids=ids, most=_MOST)
        return await store.redrive([letter.id for letter in found if letter.event is not None])

    done = _run(redriven)
    console().print(f"{len(done)} run again within ten seconds")
    if left := sorted(set(ids) - set(done)):
        raise CommandError(f"not run again: {_named(left)}; no such letter, a gap, or its hook is not there any more")


def drop(ids: Sequence[int]) -> None:
    """Forget dead letters. Raises CommandError for ids that are not there; the others are forgotten."""
    done = _run(lambda store: store.drop(ids))
    console().print(f"{len(done)} forgotten")
    if left := sorted(set(ids) - set(done)):
        raise _missing(left)


def _missing(ids: Sequence[int]) -> CommandError:
    return CommandError(f"no dead letter {_named(ids)}; `stylobate events dead list` shows them")


def _named(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids))


def _run(ask: Callable[[HookStore], Awaitable[list[T]]]) -> list[T]:
    """Return what the stores of all services answer together."""

    async def asked() -> list[T]:
        services, found = services_with("hooks"), list[T]()  # imports them, which is not the database's time
        async with asyncio.timeout(WITHIN.total_seconds()):
            for name in services:
                async with schema_of(name) as database:
                    found += await ask(PostgresHookStore(database))
        return found

    with answering():
        return asyncio.run(asked())
