"""Every reason that an answer may carry, also those of services in other processes."""

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import orjson

OWN = "module"
"""The area of reasons that modules name in their code."""


class Reason(NamedTuple):
    """One reason; ``code`` in a problem."""

    status: int
    """The HTTP status that it goes with."""
    area: str
    """Whose it is: a service's name, or ``common``."""
    meaning: str
    cure: str


@cache
def known_reasons() -> dict[str, Reason]:
    """Return the platform's reasons by name; written by ``make generate`` from the classes."""
    found: dict[str, dict[str, Any]] = orjson.loads(files(__package__).joinpath("reasons.json").read_bytes())
    return {reason: Reason(**entry) for reason, entry in found.items()}
