"""Whose fault a typed error is that leaves a handler: its caller's, or the module's own.

A module that names what nobody declares, or sends what the platform refuses, has a defect: its caller could not have done
better. Where the value that was refused came with the caller's input, the caller could have.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from stylobate.errors import StylobateError, Violation
from stylobate.json_pointer import pointer, steps
from stylobate.modules.payload import decode, encode
from stylobate.rpc.status import to_status

_MISTAKES = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.UNIMPLEMENTED})
_UNDECLARED = frozenset({
    "ACTION_NOT_FOUND", "REALTIME_CHANNEL_UNKNOWN", "STATE_EVENT_UNKNOWN", "STATE_NAMESPACE_FOREIGN", "STATE_NAMESPACE_UNKNOWN",
})  # fmt: skip


def is_defect(error: StylobateError, payload: bytes) -> bool:
    """Return whether the error is the module's own defect.

    :param error: what the module let through, or raised itself; its own refusals are not, where they can be said at all.
    :param payload: the caller's input as JSON.
    """
    if not _can_be_said(error):
        return True
    if error.sent is None or (error.code not in _MISTAKES and error.reason not in _UNDECLARED):
        return False
    given = list(_parts(decode(payload) if payload else None))
    return not all(any(_is_from(value, part) for part in given) for value in _refused(error, error.sent))


def placed(error: StylobateError, payload: bytes) -> tuple[Violation, ...]:
    """Return the error's findings at the places in the caller's input that the refused values came from.

    What a module sends on stands under names of the platform's, such as ``/key``, which its caller never wrote.
    """
    if error.sent is None or not error.violations:
        return error.violations
    given = list(_places(decode(payload) if payload else None))
    values = _refused(error, error.sent)
    values += values[-1:] * (len(error.violations) - len(values))

    def place(violation: Violation, value: Any) -> Violation:
        found = next((there for there, part in given if _is_from(value, part)), violation.pointer)
        return Violation(found, violation.detail)

    return tuple(map(place, error.violations, values))


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield everything in the value with its JSON pointer, what holds other values after them."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in members:
        yield from _places(part, (*path, name))
    yield pointer(path), value


def _can_be_said(error: StylobateError) -> bool:
    """Return whether the error has the parts that cross a border: a class of the module's may have spoilt them."""
    try:
        to_status(error)
    except Exception:  # noqa: BLE001  whatever is wrong with it
        return False
    return error.code is not grpc.StatusCode.OK


def _refused(error: StylobateError, sent: Mapping[str, Any]) -> list[Any]:
    """Return the values that were refused: where the violations point, else what the reason names."""
    named = {name: value for name, value in sent.items() if name.upper() in error.reason}
    if "data" in sent and error.violations and named.keys() <= {"data"}:
        data = decode(encode(sent["data"]))
        return [_at(data, violation.pointer) for violation in error.violations]
    return list(named.values()) or [sent.get("data")]


def _at(value: Any, place: str) -> Any:
    """Return what stands at the JSON pointer, or the nearest thing above it that is there."""
    for name in steps(place):
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            break
    return value


def _parts(value: Any) -> Iterator[Any]:
    """Yield the value and everything in it."""
    todo = [value]
    while todo:
        part = todo.pop()
        yield part
        if isinstance(part, dict):
            todo += [*part, *part.values()]
        elif isinstance(part, list):
            todo += part


def _is_from(value: Any, part: Any) -> bool:
    """Return whether a refused value is a part of the input, or a text that consists of one for the most part."""
    if isinstance(value, list) and not isinstance(part, list):
        return any(_is_from(item, part) for item in value)
    if isinstance(value, str) and isinstance(part, str):
        return value == part or (part in value and 2 * len(part) >= len(value))
    return type(value) is type(part) and bool(value == part) and value is not None
