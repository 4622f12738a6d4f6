"""`stylobate access`: decisions, explained."""

from typing import Annotated

import typer

from stylobate.api.auth.v1.access_service_pb2 import AccessReason, ExplainAccessRequest
from stylobate.api.auth.v1.access_service_pb2_grpc import AccessServiceStub
from stylobate.launcher.operator import ADDRESS, RunningService
from stylobate.launcher.output import console

access = typer.Typer()


@access.callback()
def _group() -> None:
    """Keep ``explain`` a word of the command, though it is the only one."""


@access.command()
def explain(
    subject: Annotated[str, typer.Argument(help="The id of an account.")],
    permission: Annotated[str, typer.Argument(help="A permission, such as `orders:create`.")],
    address: Annotated[str, ADDRESS] = "",
) -> None:
    """Say whether an account may do something and why; exit with 1 when it may not."""
    request = ExplainAccessRequest(subject=subject, permission=permission)
    found = RunningService("auth", address).ask(lambda channel: AccessServiceStub(channel).ExplainAccess(request))
    for reason in found.reasons:
        _print(_line(reason))
    if not found.allowed:
        _print(f"no: none of the account's roles permits {permission}")
        if found.would_permit:
            _print(f"these roles would: {', '.join(found.would_permit)}")
            _print(f"  stylobate users roles add {subject} {found.would_permit[0]}")
        raise typer.Exit(1)


def _line(reason: AccessReason) -> str:
    through = f", which inherits it from {' from '.join(reason.through)}" if reason.through else ""
    return f"yes: by the role {reason.role}{through}: {reason.permission} ({reason.source})"


def _print(line: str) -> None:
    console().print(line, highlight=False, markup=False, soft_wrap=True)
