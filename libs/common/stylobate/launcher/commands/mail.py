"""`stylobate mail`."""

from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Annotated

import typer

from stylobate.launcher.output import CommandError
from stylobate.launcher.project import Project


def mail(
    lines: Annotated[int, typer.Option("--last", "-n", min=1, help="How many mails.")] = 3,
    html: Annotated[bool, typer.Option("--html", help="The HTML part in place of the text.")] = False,
) -> None:
    """Print the last mails of the development outbox, the newest at the end."""
    files = sorted(Project(Path.cwd()).mail.glob("*.eml"))[-lines:]
    if not files:
        raise CommandError("no mail was written here yet; with STYLOBATE_AUTH_SMTP_HOST mail goes to a server")
    for file in files:
        message = message_from_bytes(file.read_bytes(), policy=default)
        body = message.get_body(("html",) if html else ("plain",))
        text = "" if body is None else body.get_content().replace("\r\n", "\n").rstrip()
        for name in ("Date", "From", "To", "Subject"):
            typer.echo(f"{name}: {message[name]}")
        typer.echo(f"\n{text}\n")
