"""How often to look for what nobody has announced."""

from time import monotonic

_LIVELY_FOR_S = 10.0
_SELDOM = 5
"""Times as long between two looks where nothing has happened for that long."""


class Pace:
    """The pause between two looks: short while something has happened lately, five times as long after ten quiet seconds.

    What is announced is seen at once either way. A look finds what the announcement was lost of, since who should have made it
    was killed; and an idle platform should cost next to nothing.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._lively_until = monotonic() + _LIVELY_FOR_S

    def saw_something(self) -> None:
        """Look often again."""
        self._lively_until = monotonic() + _LIVELY_FOR_S

    @property
    def pause_s(self) -> float:
        """How long to wait for an announcement before the next look."""
        return self._every_s if monotonic() < self._lively_until else self._every_s * _SELDOM
