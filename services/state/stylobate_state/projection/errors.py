"""Every error of projections, one class per reason."""

import grpc
from stylobate.errors import NotFoundError, StylobateError


class ProjectionNotFoundError(NotFoundError):
    """No module declares a projection of that name."""

    reason = "PROJECTION_NOT_FOUND"
    cure = "Use a projection that a module declares in its states.yaml; `stylobate projections list` shows those that run."

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no projection {name!r}.", metadata={"projection": name})


class ProjectionRebuiltError(StylobateError):
    """The projection was begun anew meanwhile; nothing was written."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "PROJECTION_REBUILT"
    cure = "Open it again and go on from where it stands then."

    def __init__(self, name: str) -> None:
        super().__init__(f"The projection {name!r} was begun anew; nothing was written.", metadata={"projection": name})
