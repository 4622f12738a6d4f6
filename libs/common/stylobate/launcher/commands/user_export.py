"""`stylobate users export`: all that is kept of an account, into a file."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import typer

from stylobate.api.auth.v1.user_export_service_pb2 import ExportUserRequest, ExportUserResponse
from stylobate.api.auth.v1.user_export_service_pb2_grpc import UserExportServiceStub
from stylobate.launcher.output import CommandError, print_line


async def write_export(channel: grpc.aio.Channel, user_id: str, to: Path) -> None:
    """Write the document that auth makes; a file is there only when it is whole, and for its owner's eyes alone.

    :raises CommandError: the file cannot be written. :raises typer.Exit: some section is not complete.
    """
    parts = aiter(UserExportServiceStub(channel).ExportUser(ExportUserRequest(id=user_id)))
    last = await anext(parts)  # what is refused leaves no file behind
    half = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        try:
            last = await _write(half, last, parts)
            half.rename(to)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise CommandError(f"{to}: {error.strerror}") from error
    for failure in last.failures:
        print_line(f"missing: {failure.source} {failure.name} ({failure.reason})")
    print_line(f"wrote {to}" + (", which is NOT complete" if last.failures else ""))
    if last.failures:
        raise typer.Exit(1)


async def _write(file: Path, first: ExportUserResponse, parts: AsyncIterator[ExportUserResponse]) -> ExportUserResponse:
    """Write the parts; return the last one."""
    last = first
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(first.part)
        async for part in parts:
            out.write(part.part)
            last = part
    return last
