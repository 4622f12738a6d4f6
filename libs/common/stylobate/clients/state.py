"""What the state service says of an object, and so does the gateway where it judges the conditions of a request (If-Match)."""

import grpc

from stylobate.errors import NotFoundError, StylobateError


class StateNotFoundError(NotFoundError):
    """The object does not exist, or no longer."""

    reason = "STATE_NOT_FOUND"
    cure = "Check namespace and key; an object that was deleted keeps its history only."

    def __init__(self, namespace: str, key: str) -> None:
        super().__init__(f"There is no {namespace}/{key}.", metadata={"namespace": namespace, "key": key})


class StateVersionConflictError(StylobateError):
    """The object does not stand at the version that the caller expects (0: does not exist)."""

    code = grpc.StatusCode.ABORTED
    reason = "STATE_VERSION_CONFLICT"
    cure = "Read the object again, decide anew on what it says now, and write with its present version."

    def __init__(self, namespace: str, key: str, *, actual: int, expected: int | None = None) -> None:
        """Say what is there.

        :param expected: the version that was asked for, 0: none; None: one of several, or any other than this.
        """
        is_at = f"is at version {actual}" if actual else "does not exist"
        should = "the request rules that out" if expected is None else f"version {expected} was expected"
        if expected == 0:
            should = "it was expected not to exist"
        metadata = {"actual": str(actual)} | ({} if expected is None else {"expected": str(expected)})
        super().__init__(f"{namespace}/{key} {is_at}; {should}.", metadata=metadata)
