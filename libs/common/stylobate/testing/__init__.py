"""What tests of services and modules use: a clock and ids as arguments, real servers as fixtures."""

from stylobate.testing.clock import FakeClock
from stylobate.testing.sequence import sequence_ids

__all__ = ["FakeClock", "sequence_ids"]
