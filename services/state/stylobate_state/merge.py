"""JSON Merge Patch (RFC 7396) on JSON texts: what a patch does not touch stays as it was, digit for digit."""

import json
from typing import Any

import msgspec

from stylobate_state.document import NULL

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def merge_patch(target: bytes, patch: bytes) -> bytes:
    """Return the target with the patch merged in (RFC 7396 §2). Both must be valid JSON texts."""
    if not is_object(patch):
        return patch
    merged = dict(_members(target)) if is_object(target) else {}
    for name, raw in _members(patch).items():
        value = bytes(raw)
        if value.strip() == NULL:
            merged.pop(name, None)
        elif is_object(value):
            present = merged.get(name)
            merged[name] = msgspec.Raw(merge_patch(bytes(present) if present is not None else NULL, value))
        else:
            merged[name] = raw
    return _encode(merged)


def delta(before: bytes, after: bytes) -> bytes | None:
    """Return the patch that makes ``after`` of ``before``, and says nothing of what stays; ``state_delta`` does the same.

    None where no patch can: a null in a patch takes a member away, so none can set a member to null.
    """
    if not is_object(after):
        return after
    present = _members(before) if is_object(before) else {}
    wanted = _members(after)
    patch = {name: msgspec.Raw(NULL) for name in present if name not in wanted}
    for name, raw in wanted.items():
        there, value = bytes(present.get(name, NULL)), bytes(raw)
        if name in present and _exact(there) == _exact(value):
            continue
        part = delta(there, value) if value.strip() != NULL else None
        if part is None:
            return None
        patch[name] = msgspec.Raw(part)
    return _encode(patch)


def _exact(text: bytes) -> Any:
    """Return the value with numbers as they are written: ``1`` and ``1.0`` are two."""
    return json.loads(text, parse_int=_digits, parse_float=_digits)


def _digits(number: str) -> tuple[str]:
    return (number,)  # no other value is a tuple


def is_object(text: bytes) -> bool:
    """Whether the JSON text is that of an object."""
    return text.lstrip()[:1] == b"{"
