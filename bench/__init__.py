"""Side-by-side benchmarks: the platform beside the least that the same work could cost. ``python -m bench [P1 P2 P8 P9]``."""
