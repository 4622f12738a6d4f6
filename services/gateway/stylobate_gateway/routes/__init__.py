"""The routes that FastAPI serves, a module for each area."""
