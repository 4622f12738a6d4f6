"""Containment: whatever module code raises leaves it as an Exception that has a text.

Python has exceptions that are meant to end a task or the process (``SystemExit``, ``KeyboardInterrupt``, ``CancelledError``,
``GeneratorExit``, the panics of extensions). Raised by a module they mean neither: they are that module's failure.
"""

_LONGEST = 500


class EscapedError(Exception):
    """Module code raised what is not an ordinary exception; that one is the cause."""


def contain(error: BaseException) -> Exception:
    """Return what module code raised as an exception that ends nothing but its own call."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):  # which no future can hold
        return error
    escaped = EscapedError(f"the code raised {told(error)}")
    escaped.__cause__ = error
    return escaped


def told(error: BaseException) -> str:
    """Return class and text of an exception in one line of at most 500 characters, also where it has no usable text."""
    if isinstance(error, EscapedError) and error.__cause__ is not None:
        error = error.__cause__
    try:
        text = " ".join(str(error).split())
    except BaseException as failed:  # noqa: BLE001  its __str__ is module code too
        text = f"(its text cannot be had: {type(failed).__name__})"
    return (f"{kind(error)}: {text}" if text else kind(error))[:_LONGEST]


def kind(error: BaseException) -> str:
    """Return the name of the class that module code raised."""
    if isinstance(error, EscapedError) and error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__
