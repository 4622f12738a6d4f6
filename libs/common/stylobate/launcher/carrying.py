"""`stylobate states export` and `import`: objects as lines of JSON."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any

import grpc.aio
import msgspec
import typer

from stylobate.api.state.v1 import state_keeping_service_pb2 as pb
from stylobate.api.state.v1.state_keeping_service_pb2_grpc import StateKeepingServiceStub
from stylobate.identity import DEFAULT_TENANT
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import CommandError
from stylobate.strict_json import JsonMalformedError, JsonRefusedError, loads

_AT_ONCE = 50
_STEP_S = 60.0
_SAY_EVERY_S = 2.0
_LONGEST_LINE = 1024 * 1024
_NAMESPACE = typer.Argument(help="The namespace, as states.yaml names it.")
_TO = typer.Option(
    "--to", help="A file; where it is there already the export goes on behind its last line. Else standard output."
)
_FROM = typer.Argument(help="What `states export` gave; `-` for standard input.")
_REPLACE = typer.Option("--replace", help="Replace the data of objects that are there, where status and owner are the same.")


class Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """An object in a line."""

    key: str
    data: msgspec.Raw
    status: str = ""
    owner: str = ""
    schema_version: int = 0
    tenant: str = DEFAULT_TENANT


_decode = msgspec.json.Decoder(Line).decode
_encode = msgspec.json.Encoder().encode


def give_out(namespace: Annotated[str, _NAMESPACE], to: Annotated[Path | None, _TO] = None) -> None:
    """Print the stored objects of a namespace, one in a line, as JSON."""
    if to is None:
        _give_out(namespace, sys.stdout.buffer, ("", ""))
        return
    with to.open("a+b") as file:
        _give_out(namespace, file, _last(file))


def take_in(
    namespace: Annotated[str, _NAMESPACE], file: Annotated[str, _FROM], replace: Annotated[bool, _REPLACE] = False
) -> None:
    """Take in objects, each as a change of its own; begun anew, it passes over what is there already.

    Names each line that is not taken in, and exits non-zero if there is one.
    """
    if file == "-":
        _take_in(namespace, sys.stdin.buffer, replace=replace)
        return
    with Path(file).open("rb") as source:
        _take_in(namespace, source, replace=replace)


def _last(file: IO[bytes]) -> tuple[str, str]:
    """Return tenant and key of the last whole line, cutting off what is not one; both empty where there is none."""
    size = file.seek(0, 2)
    start = max(0, size - _LONGEST_LINE)
    file.seek(start)
    tail = file.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    if not whole and start:
        raise CommandError(f"{file.name} does not end in lines of an export")
    file.truncate(start + len(whole))
    lines = whole.splitlines()
    if not lines:
        return "", ""
    try:
        found = _decode(lines[-1])
    except msgspec.MsgspecError:
        raise CommandError(f"{file.name} is not an export: its last line is not an object") from None
    return found.tenant, found.key


def _give_out(namespace: str, file: IO[bytes], after: tuple[str, str]) -> None:
    async def run(channel: grpc.aio.Channel) -> int:
        stub: Any = StateKeepingServiceStub(channel)
        (tenant, key), given, said_at = after, 0, time.monotonic()
        while True:
            request = pb.ExportStatesRequest(namespace=namespace, after_tenant=tenant, after_key=key)
            found = await stub.ExportStates(request, timeout=_STEP_S)
            for one in found.states:
                line = Line(one.key, msgspec.Raw(one.data), one.status, one.owner, one.schema_version, one.tenant)
                file.write(_encode(line) + b"\n")
            given += len(found.states)
            tenant, key = found.next_tenant, found.next_key
            if not key:
                return given
            if time.monotonic() >= said_at + _SAY_EVERY_S:
                said_at = time.monotonic()
                typer.echo(f"{namespace}: {given} given out", err=True)

    given = RunningService("state").ask(run)
    file.flush()
    typer.echo(f"{namespace}: {given} objects given out", err=True)


def _take_in(namespace: str, source: IO[bytes], *, replace: bool) -> None:
    async def run(channel: grpc.aio.Channel) -> tuple[int, int, int]:
        stub: Any = StateKeepingServiceStub(channel)
        written = unchanged = refused = 0
        said_at = time.monotonic()
        for numbers, states, faults in _batches(source):
            request = pb.ImportStatesRequest(namespace=namespace, states=states, replace=replace)
            found = await stub.ImportStates(request, timeout=_STEP_S)
            written, unchanged = written + found.written, unchanged + found.unchanged
            told = faults + [(numbers[one.index], f"{one.reason}: {one.detail}") for one in found.refusals]
            refused += len(told)
            for number, text in sorted(told):
                typer.echo(f"line {number}: {text}")
            if time.monotonic() >= said_at + _SAY_EVERY_S:
                said_at = time.monotonic()
                typer.echo(f"{namespace}: {written} written, {unchanged} there already, {refused} refused", err=True)
        return written, unchanged, refused

    written, unchanged, refused = RunningService("state").ask(run)
    typer.echo(f"{namespace}: {written} objects written, {unchanged} there already, {refused} refused")
    if refused:
        raise typer.Exit(1)


def _batches(source: IO[bytes]) -> Iterator[tuple[list[int], list[pb.CarriedState], list[tuple[int, str]]]]:
    """Yield some lines at a time: their numbers, the objects in them, and what is wrong with others."""
    numbers: list[int] = []
    states: list[pb.CarriedState] = []
    faults: list[tuple[int, str]] = []
    number = 0
    while line := source.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            raise CommandError(f"line {number} is longer than {_LONGEST_LINE} bytes")
        try:
            states.append(_carried(line))
            numbers.append(number)
        except (msgspec.MsgspecError, JsonMalformedError, JsonRefusedError) as error:
            faults.append((number, f"is not an object of an export: {error}"))
        if len(states) + len(faults) == _AT_ONCE:
            yield numbers, states, faults
            numbers, states, faults = [], [], []
    yield numbers, states, faults


def _carried(line: bytes) -> pb.CarriedState:
    loads(line)
    found = _decode(line)
    return pb.CarriedState(
        tenant=found.tenant,
        key=found.key,
        data=bytes(found.data),
        status=found.status,
        owner=found.owner,
        schema_version=found.schema_version,
    )
