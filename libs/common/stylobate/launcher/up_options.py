"""What `up` and `dev` are asked for: read from the command line, and handed on to what runs the platform."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from pydantic import TypeAdapter


class DatabaseKind(StrEnum):
    """What the platform keeps its data in."""

    POSTGRESQL = "postgresql"
    MONGODB = "mongodb"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """All of it."""

    split: bool = False
    """Whether each service has a process."""
    workers: int = 1
    port: int = 0
    """The first of a row; 0: the documented ones."""
    vault: bool = False
    """Whether OpenBao runs beside it."""
    database: DatabaseKind | None = None
    """None: the one that the project has data of."""
    watch: bool = False
    """Whether what is saved is read again."""
    is_read: bool = True
    """Whether what is printed is for a person: else it stands in a file."""

    def arguments(self) -> list[str]:
        """Return it as arguments: ``--port=8080``, ``--split=1``. What is as ever is left out."""
        given = {name: value for name, value in asdict(self).items() if value != getattr(UpOptions(), name)}
        return [f"--{name}={value:d}" if isinstance(value, int) else f"--{name}={value}" for name, value in given.items()]

    @classmethod
    def of(cls, arguments: Iterable[str]) -> Self:
        """Read what :meth:`arguments` returned."""
        given = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
        return TypeAdapter(cls).validate_python(given)
