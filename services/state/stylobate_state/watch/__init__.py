"""Watching state objects: how they stand, then what happens to them, out of the log."""
