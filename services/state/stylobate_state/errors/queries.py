"""Errors about indexes, lists and watches."""

from collections.abc import Sequence
from datetime import timedelta

import grpc
from stylobate.errors import StylobateError, UnavailableError, Violation
from stylobate.json_pointer import pointer

from stylobate_state.errors.data import StateDataInvalidError
from stylobate_state.index import MOST_BYTES, Index

_NO_INDEX = "no index answers this together with the rest of the query"


class StateWatchesFullError(UnavailableError):
    """The process has as many watches open as it may have."""

    reason = "STATE_WATCHES_FULL"
    default_detail = "Too many watches are open at the moment."
    cure = "Try again after the time in Retry-After; an operator raises STYLOBATE_STATE_WATCHES or adds a process."

    def __init__(self) -> None:
        super().__init__(retry_after=timedelta(seconds=1))


class StateTooManyWatchesError(StylobateError):
    """The caller has as many watches open in this process as one may have."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "STATE_TOO_MANY_WATCHES"
    default_detail = "You have too many watches open."
    cure = "Close those that are not needed; one watch of a namespace stands for many of its objects."


class StateQueryNotIndexedError(StylobateError):
    """No index of the namespace leads to what a query asks for, in the order that it asks for."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_QUERY_NOT_INDEXED"
    cure = (
        "Filter and sort as an index of the namespace has its fields (docs/how-to/query-states.md), or declare one for this "
        "query under `indexes` in states.yaml. Nothing is searched without an index."
    )

    def __init__(self, namespace: str, filtered: Sequence[str], sort: str, indexes: Sequence[Index]) -> None:
        places = [Violation(pointer(["filter", name]), _NO_INDEX) for name in filtered]
        if sort:
            places.append(Violation("/sort", _NO_INDEX))
        there = "; ".join(map(_described, indexes))
        super().__init__(
            f"No index of {namespace} answers this query. It has: {there or 'none'}.",
            metadata={"namespace": namespace, "indexes": there},
            violations=places,
        )

    @classmethod
    def by_status(cls, namespace: str) -> "StateQueryNotIndexedError":
        """Return the error for a list by status where that takes an index too."""
        error = cls(namespace, (), "", ())
        error.violations = (Violation("/status", _NO_INDEX),)
        return error


class StateSortTooBroadError(StylobateError):
    """What the filters find has to be sorted, since no index has it in that order, and is more than can be."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "STATE_SORT_TOO_BROAD"
    cure = (
        "Narrow the filters until they find at most `most` objects, or declare an index with the fields of the filters, and that "
        "of the sort behind them (docs/how-to/query-states.md). Behind a range no index has another order."
    )

    def __init__(self, index: Index, sort: str, most: int, wanted: Sequence[str]) -> None:
        """Say how many could be sorted, and the fields of an index that would have them in order; none where no index could."""
        better = f"narrow the filters, or declare an index ({','.join(wanted)})" if wanted else "narrow the filters"
        super().__init__(
            f"The filters find more than {most} objects of {index.namespace}, and no index has them in the order of {sort}: "
            f"{better}.",
            metadata={"namespace": index.namespace, "most": str(most), "index": _described(index)},
            violations=[Violation("/sort", f"takes filters that find at most {most} objects")],
        )


class StateIndexNotReadyError(StylobateError):
    """The index that a query needs is still being built, or cannot be made ready."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "STATE_INDEX_NOT_READY"
    cure = (
        "Ask again when it is built; `entered` says how many objects it has seen so far. Where objects stand in its way, "
        "`stylobate status` names two of them; change one, and the index becomes ready by itself."
    )

    def __init__(self, index: Index, *, entered: int | None, has_problem: bool) -> None:
        """Say how it is, and nothing of single objects.

        :param entered: how many objects it has seen; None where the caller may not know how many there are.
        """
        why = "cannot be made ready: objects stand in its way" if has_problem else "is being built"
        super().__init__(
            f"The index ({index}) of {index.namespace} {why}.",
            metadata={"namespace": index.namespace, "index": str(index)} | ({} if entered is None else {"entered": str(entered)}),
        )


class StateNotUniqueError(StylobateError):
    """Another object has the same values in a unique index; nothing was written."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "STATE_NOT_UNIQUE"
    cure = "Choose another value for `field`, or change the object that `key` names, where you may see it. Nothing was written."

    def __init__(self, index: Index, key: str) -> None:
        """Say what is taken.

        :param key: who has it; empty where the caller may not know.
        """
        other = f"{index.namespace}/{key}" if key else f"Another object of {index.namespace}"
        super().__init__(
            f"{other} has the same {' and '.join(field.name for field in index.fields)}; nothing was written.",
            metadata={"namespace": index.namespace, "field": str(index)} | ({"key": key} if key else {}),
            violations=[Violation(pointer(path), "is taken") for path in index.paths if path],
        )


def _described(index: Index) -> str:
    return f"({index}) where status is {' or '.join(index.statuses)}" if index.statuses else f"({index})"


def too_long(index: Index) -> StateDataInvalidError:
    """Return the error for data that an index cannot hold."""
    detail = f"is longer, with the other fields of its index, than the {MOST_BYTES} bytes that an index takes"
    return StateDataInvalidError([Violation(pointer(path), detail) for path in index.paths if path])
