"""`stylobate projections`."""

from typing import Annotated

import typer

from stylobate.api.state.v1 import projection_service_pb2 as pb
from stylobate.api.state.v1.projection_service_pb2_grpc import ProjectionServiceStub
from stylobate.launcher.operator import RunningService
from stylobate.launcher.output import console

projections = typer.Typer()

_NAME = typer.Argument(help="As `projections list` shows it.")


@projections.command("list")
def listing() -> None:
    """List the projections that ever ran, and why those stand that do not go on."""
    request = pb.ListProjectionsRequest()
    answer = RunningService("state").ask(lambda channel: ProjectionServiceStub(channel).ListProjections(request))
    for one in answer.projections:
        begun = f"{one.begun_at.ToDatetime():%Y-%m-%d %H:%M:%S}"
        state = f"stands at {one.error}" if one.error else "is rebuilt" if one.rebuilding else "runs"
        console().print(f"{one.name}  begun {begun}, generation {one.generation}  {state}", highlight=False, markup=False)
    if not answer.projections:
        console().print("no projections")


@projections.command()
def rebuild(name: Annotated[str, _NAME]) -> None:
    """Make the objects of a projection anew, from the first event on; those of before are shown until then."""
    request = pb.RebuildProjectionRequest(name=name)
    answer = RunningService("state").ask(lambda channel: ProjectionServiceStub(channel).RebuildProjection(request))
    console().print(f"generation {answer.generation} begins; `stylobate projections list` shows how it goes")
