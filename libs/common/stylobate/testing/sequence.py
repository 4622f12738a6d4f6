"""Ids that a test can foresee."""

from collections.abc import Callable
from itertools import count


def sequence_ids(start: int = 1) -> Callable[[], str]:
    """Return a stand-in for ``stylobate.ids.new_id``: UUID-shaped, counted, ``00000000-0000-7000-8000-000000000001`` first."""
    numbers = count(start)
    return lambda: f"00000000-0000-7000-8000-{next(numbers):012d}"
