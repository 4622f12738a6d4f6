"""What MongoDB's and the driver's errors mean to a caller: the one place that knows. By the server's numbers of errors."""

from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError, InvalidDocument
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConnectionFailure,
    InvalidOperation,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from stylobate.database.faults import RETRY_AFTER
from stylobate.errors import DatabaseUnavailableError, ValueRefusedError

FAULTS = (OSError, PyMongoError, BSONError, OverflowError, UnicodeError)
"""Whatever a statement may raise."""

_TRANSIENT, _UNKNOWN = "TransientTransactionError", "UnknownTransactionCommitResult"
_DUPLICATE, _BAD_VALUE = 11000, 2
_TOO_LARGE = "too large"
NOT_US = (18, 8000)
"""The server answers, and does not let this user in with this password."""
_MAY_NOT, _GONE, _NOT_LET_IN = 13, "requires authentication", "AuthenticationFailed"
_PAUSED = "connection pool paused"
_REFUSED = frozenset((15, 22, 10334, 17280, 17419, 17420))
"""What a value is to blame for: it overflows, cannot be BSON, or is too large."""
_MAY_PASS = frozenset(
    (
        *(
            6,
            7,
            89,
            91,
            189,
            9001,
            10058,
            10107,
            11600,
            11602,
            13435,
            13436,
        ),  # the way there, another primary, a server that stops
        *(24, 46, 50, 64, 112, 202, 225, 239, 246, 251, 262, 267, 290),  # took too long, or clashed with others
        *(14031, 146, 43, 133, 134, 175, 237, 240, 11601),  # full, interrupted, no server of the kind that was asked for
    )
)
"""What may go well another time; nothing is wrong with what was asked."""


class DuplicateError(Exception):
    """A unique key is there already. A transaction is at its end with it: nothing in it happened."""

    def __init__(self, index: str, key: Mapping[str, Any]) -> None:
        self.index = index
        """The name of the index; ``_id_`` is that of ``_id``."""
        self.key = dict(key)
        super().__init__(f"{index}: {', '.join(key)} is there already")


class ClashError(Exception):
    """A transaction was undone because others were at it too, or the server went away: it may be made anew."""


class LoginRefusedError(Exception):
    """The server answers, and does not let this user in with this password; the text is one line for a person."""


def is_refused(error: BaseException) -> bool:
    """Return whether the server did nothing because of who we are: not let in, or let in and removed since."""
    if isinstance(error, ServerSelectionTimeoutError):  # for the driver a server that refused us is gone for a moment
        return _NOT_LET_IN in str(error)
    if not isinstance(error, OperationFailure):
        return False
    return error.code in NOT_US or (error.code == _MAY_NOT and _GONE in str(error))


def was_not_sent(error: BaseException) -> bool:
    """Return whether it met a pool that was closed while it waited for a connection, because of what another one met."""
    return isinstance(error, AutoReconnect) and _PAUSED in str(error)


def fault_of(error: BaseException) -> Exception | None:
    """Return what a caller gets for an error of a statement; None for a defect, which stays what it is."""
    if isinstance(error, (InvalidDocument, BSONError, OverflowError, UnicodeError)):
        return ValueRefusedError()
    if isinstance(error, BulkWriteError):
        return _of_bulk(error)
    if is_refused(error):
        return unavailable(error)
    if isinstance(error, OperationFailure):
        return _of_code(error, error.code, error.details or {})
    is_closed = isinstance(error, InvalidOperation) and "after close" in str(error)
    return unavailable(error) if is_closed or isinstance(error, (OSError, ConnectionFailure)) else None


def is_transient(error: BaseException) -> bool:
    """Return whether the transaction that met it may be made anew."""
    return isinstance(error, PyMongoError) and error.has_error_label(_TRANSIENT)


def is_commit_unknown(error: BaseException) -> bool:
    """Return whether nobody knows how the commit went: it may be asked for again."""
    return isinstance(error, PyMongoError) and error.has_error_label(_UNKNOWN)


def unavailable(error: BaseException) -> DatabaseUnavailableError:
    """Return the platform's error for a fault; the text names the fault for logs, callers see it in no other form."""
    name = (getattr(error, "details", None) or {}).get("codeName") if isinstance(error, OperationFailure) else None
    return DatabaseUnavailableError(metadata={"cause": str(name or type(error).__name__)}, retry_after=RETRY_AFTER)


def _of_bulk(error: BulkWriteError) -> Exception | None:
    found: Mapping[str, Any] = error.details or {}
    for one in found.get("writeErrors", ()):
        known = _of_code(error, one.get("code"), one)
        if known is not None:
            return known
    return unavailable(error) if found.get("writeConcernErrors") else None


def _of_code(error: Exception, code: int | None, details: Mapping[str, Any]) -> Exception | None:
    if code == _DUPLICATE:
        text = str(details.get("errmsg", ""))
        index = text.partition(" index: ")[2].partition(" ")[0]
        return DuplicateError(index, details.get("keyValue") or {})
    if code in _REFUSED or (code == _BAD_VALUE and _TOO_LARGE in str(details.get("errmsg"))):
        return ValueRefusedError()
    return unavailable(error) if code in _MAY_PASS or is_transient(error) else None
