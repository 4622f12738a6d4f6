"""Projections: methods of modules that make state objects of events."""
