"""Options that several commands have."""

import typer

ADDRESS = typer.Option(
    "--address", help="Where the service is, of a platform elsewhere: `auth:9091`. Without it the one of this folder."
)
"""Of a command's parameter."""
