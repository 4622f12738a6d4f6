"""What the service knows of projections."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Projection:
    """A projection as it stands."""

    name: str
    """Also that of the namespace which it makes."""
    generation: int
    """How often it was begun; from 1."""
    position: str
    """Behind every event that was dealt with, as the log gives it; empty before the first."""
    begun_at: datetime
    is_rebuilding: bool = False
    """Whether objects of the generation before are left."""
    error: str = ""
    """Why it does not go on; empty while it does."""


@dataclass(frozen=True, slots=True)
class Applied:
    """Events of one tenant that go together."""

    projection: str
    generation: int
    tenant: str
    ranges: Mapping[int, tuple[int, int]]
    """The numbers of the first and the last of them, by partition."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of them."""

    numbers: Mapping[int, int]
    """The last that is applied of the tenant, by partition of those asked for; 0: none."""
    is_applied: bool
    """Whether it happened. Else some of them were applied before, or an object was another than was read; nothing was changed."""


@dataclass(frozen=True, slots=True)
class View:
    """An object of a projection as its method sees it."""

    key: str
    version: int
    """0: nothing stands there."""
    data: bytes | None
    """None: this generation has made nothing."""
    owner: str
