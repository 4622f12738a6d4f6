"""Members of JSON texts by their paths. What is not touched stays as it was, digit for digit."""

from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import orjson

from stylobate.strict_json import loads

Path = tuple[str, ...]
"""Names of members, from the outermost in."""
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_NULL = b"null"


class Found(NamedTuple):
    """What stands at a path."""

    value: bytes | None
    """JSON text; None: nothing does."""
    blocked: Path | None = None
    """Where there is something else than an object on the way."""


def is_object(text: bytes) -> bool:
    """Whether the JSON text is that of an object."""
    return text.lstrip()[:1] == b"{"


def find(text: bytes, path: Path) -> Found:
    """Return what stands at the path in a valid JSON text."""
    for depth, name in enumerate(path):
        if not is_object(text):
            return Found(None, path[:depth])
        raw = _members(text).get(name)
        if raw is None:
            return Found(None)
        text = bytes(raw)
    return Found(text)


def without(text: bytes, paths: Collection[Path]) -> bytes:
    """Return the JSON text without what stands at the paths; the very same where nothing does.

    Where there should be an object on the way and is something else, not null, that is left out: nobody can tell what it holds.
    """
    if not is_object(text):
        return _NULL if paths and text.strip() != _NULL else text
    if not paths:
        return text
    members = _members(text)
    touched = False
    for name in {path[0] for path in paths}.intersection(members):
        deeper = [path[1:] for path in paths if path[0] == name]
        inner = bytes(members[name])
        if () in deeper or not (is_object(inner) or inner.strip() == _NULL):
            del members[name]
            touched = True
        elif (left := without(inner, deeper)) is not inner:
            members[name] = msgspec.Raw(left)
            touched = True
    return _encode(members) if touched else text


def with_value(text: bytes, path: Path, value: bytes) -> bytes:
    """Return the JSON text of an object with the value at the path; objects on the way are made where there are none."""
    members = _members(text) if is_object(text) else {}
    name, *rest = path
    inner = bytes(members.get(name, b"{}"))
    members[name] = msgspec.Raw(with_value(inner, tuple(rest), value) if rest else value)
    return _encode(members)


def mapped(text: bytes, paths: Collection[Path], change: Callable[[Path, bytes], bytes | None]) -> bytes:
    """Return the JSON text with what stands at the paths changed; the very same where nothing does.

    Where there should be an object on the way and is something else, not null, that is changed, as what stands at its own path.

    :param change: is given where something stands, and its JSON text; returns another one, None: it is to be left out.
    """
    return _mapped(text, _whole_tree(tuple(paths)), change)


_Tree = dict[str, tuple[Path, Path, Any]]
"""By the first name: what is left of one path behind it, that path as a whole, and the tree of all that go on there."""


@lru_cache(1024)
def _tree(paths: tuple[tuple[Path, Path], ...]) -> _Tree:
    """Return paths by their first names.

    :param paths: each as it is from here on, and as a whole.
    """
    found: _Tree = {}
    for name in dict.fromkeys(path[0] for path, _ in paths):
        deeper = tuple((path[1:], whole) for path, whole in paths if path[0] == name)
        rest, whole = deeper[0]
        found[name] = rest, whole, _tree(deeper) if rest else None
    return found


@lru_cache(1024)
def _whole_tree(paths: tuple[Path, ...]) -> _Tree:
    return _tree(tuple((path, path) for path in paths))


def _mapped(text: bytes, tree: _Tree, change: Callable[[Path, bytes], bytes | None]) -> bytes:
    if not tree or not is_object(text):
        return text
    members = _members(text)
    touched = False
    for name, (rest, whole, deeper) in tree.items():
        raw = members.get(name)
        if raw is None:
            continue
        inner = bytes(raw)
        if rest and is_object(inner):
            made: bytes | None = _mapped(inner, deeper, change)
        elif rest and inner.strip() == _NULL:
            continue
        else:
            made = change(whole[: len(whole) - len(rest)], inner)
        if made is inner:
            continue
        touched = True
        if made is None:
            del members[name]
        else:
            members[name] = msgspec.Raw(made)
    return _encode(members) if touched else text


def is_same(one: bytes, other: bytes) -> bool:
    """Return whether two valid JSON texts have one value, whatever the order of members and the form of numbers."""
    return _plain(one) == _plain(other)


def _plain(text: bytes) -> bytes:
    return orjson.dumps(loads(text), option=orjson.OPT_SORT_KEYS)
