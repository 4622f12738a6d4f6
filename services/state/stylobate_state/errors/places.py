"""Errors about where a namespace stands."""

from datetime import timedelta

import grpc
from stylobate.errors import StylobateError


class StateEphemeralError(StylobateError):
    """The namespace is ephemeral, and what is asked for takes one that is durable."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_EPHEMERAL"
    cure = (
        "Ask for the objects themselves. Where history, watches or transactions with other namespaces are needed, the namespace "
        "must be durable: leave `durability` and `ttl` out in states.yaml."
    )

    def __init__(self, namespace: str, what: str) -> None:
        """Say what there is none of, such as ``history``."""
        super().__init__(f"{namespace} is ephemeral: it has no {what}.", metadata={"namespace": namespace})


class StateMovedError(StylobateError):
    """The namespace is being moved to another database, or was, and this process does not know yet; nothing was written."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "STATE_MOVED"
    cure = (
        "Try again after the time in Retry-After. It lasts until the operator has restarted the service with the new place, or "
        "has taken the move back."
    )

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"{namespace} is being moved to another database; nothing was written.",
            metadata={"namespace": namespace},
            retry_after=timedelta(seconds=5),
        )


class StateMoveRefusedError(StylobateError):
    """The namespace cannot be moved to that database; nothing was changed."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_MOVE_REFUSED"
    cure = "Name another database than that in which it stands: one that STYLOBATE_STATE_DATABASES names, or `main`."

    def __init__(self, namespace: str, why: str) -> None:
        super().__init__(f"{namespace} is not moved: {why}.", metadata={"namespace": namespace})


class StateApartError(StylobateError):
    """Operations of one transaction are on objects that stand in different databases; nothing was written."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_APART"
    cure = (
        "Do them one after the other, or in a hook on the event of the first; or let the namespaces stand in one database "
        "(`STYLOBATE_STATE_PLACES`)."
    )

    def __init__(self, first: str, last: str, *, index: int) -> None:
        """Say which operations.

        :param first: the namespace of operation 0. :param last: that of the operation with this index.
        """
        super().__init__(
            f"Operation 0 ({first}) and operation {index} ({last}) are on objects in different databases.",
            metadata={"namespace": last, "other": first, "other_index": "0"},
        )
