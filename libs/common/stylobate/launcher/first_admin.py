"""The invitation of the first administrator, as `up` and `users invite-admin` show it."""

import grpc.aio

from stylobate.api.auth.v1.first_admin_service_pb2 import InviteFirstAdminRequest, InviteFirstAdminResponse
from stylobate.api.auth.v1.first_admin_service_pb2_grpc import FirstAdminServiceStub
from stylobate.errors import StylobateError
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError
from stylobate.launcher.times import shown

_EXISTS = "AUTH_ADMINISTRATOR_EXISTS"


async def invite(channel: grpc.aio.Channel) -> InviteFirstAdminResponse:
    """Return a new invitation. Raises StylobateError: there is an administrator."""
    return await FirstAdminServiceStub(channel).InviteFirstAdmin(InviteFirstAdminRequest())


def told(invitation: InviteFirstAdminResponse, gateway: str) -> str:
    """Return what is said of an invitation: its link, or, where there is no page, a command.

    :param gateway: its address; empty: not known.
    """
    end = shown(invitation.expires_at)
    if invitation.link:
        return f"first administrator (this link works once, until {end}):\n  {invitation.link}"
    body = f'{{"token": "{invitation.token}", "email": "you@example.com", "password": "a password of yours"}}'
    command = f"curl -sS {gateway or 'https://…'}/v1/auth/first-admin -H 'content-type: application/json' -d @-"
    return (
        f"first administrator (this works once, until {end}):\n  {command}\n"
        f"type this line into it, with what is yours, then Ctrl-D, so that it is in no history of commands:\n  {body}"
    )


async def told_at_start(gateway: str) -> str:
    """Return the same for a platform that just started; empty where there is an administrator."""
    try:
        return told(await RunningService("auth", is_here=True).asked(invite), gateway)
    except StylobateError as error:
        return "" if error.reason == _EXISTS else _missed(error)
    except CommandError as error:
        return _missed(error)


def _missed(error: Exception) -> str:
    return f"no link for a first administrator could be made ({error}); `stylobate users invite-admin` makes one"
