"""`stylobate version`."""

import typer

from stylobate import __version__


def version() -> None:
    """Print the version."""
    typer.echo(__version__)
