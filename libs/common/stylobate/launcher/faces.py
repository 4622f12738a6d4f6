"""What the `stylobate` command shows: one console, addresses, tables; one clear line for an error."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table


class CommandError(Exception):
    """Something a person can mend; the text is one line, the exit code 2."""


def console() -> Console:
    """Return the console for what a person reads."""
    return Console(highlight=False)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn errors that a person can mend into one line each and exit code 2; others pass with their traceback."""
    try:
        yield
    except (Exception, BaseExceptionGroup) as error:
        lines = _mendable(error)
        if lines is None:
            raise
        for line in lines:
            Console(stderr=True, highlight=False).print(f"[red]error:[/red] {escape(line)}", soft_wrap=True)
        raise SystemExit(2) from None


def _mendable(error: BaseException) -> list[str] | None:
    """Return the lines of an error, or None when any part of it is a defect."""
    # imported where there is an error only: most commands need none of it
    from stylobate.app.listeners import ListenError  # noqa: PLC0415
    from stylobate.config import ConfigError  # noqa: PLC0415
    from stylobate.errors import StylobateError  # noqa: PLC0415
    from stylobate.launcher.embedded import EmbeddedServerError  # noqa: PLC0415

    if isinstance(error, BaseExceptionGroup):
        parts = [_mendable(part) for part in error.exceptions]
        return None if any(part is None for part in parts) else [line for part in parts for line in part or []]
    if not isinstance(error, (CommandError, ConfigError, ListenError, EmbeddedServerError, StylobateError)):
        return None
    violations = error.violations if isinstance(error, StylobateError) else ()
    return [*str(error).splitlines(), *(f"{violation.pointer}: {violation.detail}" for violation in violations)]


def addresses(endpoints: dict[str, str]) -> Table:
    """Return the addresses as two columns."""
    table = Table.grid(padding=(0, 2))
    for name, address in endpoints.items():
        table.add_row(f"  [bold]{name}[/bold]", address)
    return table
