"""Side-by-side benchmarks: the platform beside the least that the same work could cost. ``python -m bench --help``."""
