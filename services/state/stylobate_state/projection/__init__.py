"""Projections: where they stand, and the objects that they make."""
