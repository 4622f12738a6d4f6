"""JSON Merge Patch (RFC 7396) on JSON texts: what a patch does not touch stays as it was, digit for digit."""

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


def is_object(text: bytes) -> bool:
    """Whether the JSON text is that of an object."""
    return text.lstrip()[:1] == b"{"
