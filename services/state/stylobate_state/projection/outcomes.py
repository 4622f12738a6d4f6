"""What became of the objects of a projection, all together."""

from collections.abc import Sequence

from stylobate_state.errors import too_long
from stylobate_state.model import TooLong, WriteOutcome, Written


def all_written(outcomes: Sequence[WriteOutcome]) -> bool:
    """Return whether all were written; else one was another than was read.

    :raises StateDataInvalidError: one has values that an index cannot hold, which another try does not change.
    """
    for outcome in outcomes:
        if isinstance(outcome, TooLong):
            raise too_long(outcome.index)
    return all(isinstance(outcome, Written) for outcome in outcomes)
