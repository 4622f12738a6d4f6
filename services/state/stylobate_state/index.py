"""An index of a namespace, and what an object is in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from typing import NamedTuple

import msgspec
from stylobate.declarations.indexes import OWN_FIELDS, path_of
from stylobate.declarations.model import IndexField, NamespaceDeclaration

from stylobate_state.index_encoding import encode, members, value_of

MOST_BYTES = 1000
"""Of the fields of an object in one index: with its key, owner and tenant it must fit into a page of the database's tree."""
_ENCODING = 1
"""Rises when the bytes change: indexes of older bytes are built anew."""


class Trait(IntEnum):
    """What is to be known of an object's fields before they are entered."""

    WHOLE = 0
    LACKS_A_FIELD = 1
    TOO_LONG = 2


class Hold(IntEnum):
    """What an entry says of others, as it is stored."""

    PLAIN = 0
    ALONE = 1
    """No other may have these values."""
    DUPLICATE = 2
    """Another has them already; only in an index that is not ready."""
    TOO_LONG = 3
    """Cut off; only in an index that is not ready."""


class Parts(NamedTuple):
    """The fields of an object, encoded; those that only the store knows are empty."""

    trait: Trait
    parts: tuple[bytes, ...]


@dataclass(frozen=True)
class Index:
    """An index as it is declared, with what it takes from its namespace; two that are equal are one in the store."""

    namespace: str
    fields: tuple[IndexField, ...]
    is_unique: bool = False
    statuses: tuple[str, ...] = ()
    """Only objects with one of these are in it; empty: all."""
    by_owner: bool = False
    """Whether lists of one's own objects go by it."""

    @cached_property
    def definition(self) -> str:
        """As JSON: its name in the store, and all there is to know about it."""
        fields = [[field.name, field.kind] for field in self.fields]
        return msgspec.json.encode([_ENCODING, fields, self.is_unique, self.statuses, self.by_owner]).decode()

    @classmethod
    def defined(cls, namespace: str, definition: str) -> "Index | None":
        """Return the index of a definition; None for one of another encoding."""
        encoding, fields, is_unique, statuses, by_owner = msgspec.json.decode(definition)
        if encoding != _ENCODING:
            return None
        return cls(namespace, tuple(IndexField(*field) for field in fields), is_unique, tuple(statuses), by_owner)

    @cached_property
    def paths(self) -> tuple[tuple[str, ...], ...]:
        """Where its fields stand in the data; nothing for what the object itself has."""
        return tuple(path_of(field.name) for field in self.fields)

    @cached_property
    def own(self) -> tuple[str, ...]:
        """For each field what the store knows of the object, as it is at the moment of the write; empty for others."""
        return tuple(field.name if field.name in OWN_FIELDS and field.name != "owner" else "" for field in self.fields)

    def __str__(self) -> str:
        """Return its fields, for sentences and metadata: ``doctor,at``."""
        return ",".join(field.name for field in self.fields)

    def parts(self, data: bytes, owner: str) -> Parts:
        """Return what is known of an object before it is written."""
        parts: list[bytes] = []
        lacks = False
        found = members(data, self.paths)
        for field, own, raw in zip(self.fields, self.own, found, strict=True):
            if own:
                parts.append(b"")
                continue
            value = owner or None if field.name == "owner" else value_of(field.kind, raw)
            lacks = lacks or value is None
            parts.append(encode(value))
        if sum(map(len, parts)) > MOST_BYTES:
            return Parts(Trait.TOO_LONG, tuple(part[: MOST_BYTES // len(parts)] for part in parts))
        return Parts(Trait.LACKS_A_FIELD if lacks else Trait.WHOLE, tuple(parts))

    def sort(self, parts: Sequence[bytes], status: str, created_at: datetime, updated_at: datetime) -> bytes | None:
        """Return the bytes by which an object is sorted; None for one that is not in it. ``state_index_part`` does the same."""
        if self.statuses and status not in self.statuses:
            return None
        known = {"": b"", "status": encode(status), "created_at": encode(created_at), "updated_at": encode(updated_at)}
        return b"".join(known[own] or part for own, part in zip(self.own, parts, strict=True))


def place_by(field: IndexField, raw: bytes, *, owner: str, status: str, created_at: datetime, updated_at: datetime) -> bytes:
    """Return the bytes of a field of an object, to sort by where no index is in that order; of long ones the beginning.

    :param raw: the member of the data, as JSON; empty where there is none, or where the object itself has the field.
    """
    own = {"owner": owner or None, "status": status, "created_at": created_at, "updated_at": updated_at}
    return encode(own[field.name] if field.name in own else value_of(field.kind, raw))[:MOST_BYTES]


@dataclass(frozen=True)
class IndexedFields:
    """The fields that the indexes of a namespace have, but for the status, which every event tells."""

    paths: tuple[tuple[str, ...], ...]
    """Of those in the data: the name of the field, then the members that lead to it."""
    own: tuple[str, ...]
    """Those that the object itself has."""

    @classmethod
    def of(cls, indexes: Sequence[Index]) -> "IndexedFields | None":
        """Return those of a namespace's indexes; None where there are none."""
        names = sorted({field.name for index in indexes for field in index.fields})
        own = tuple(name for name in names if name in OWN_FIELDS and name != "status")
        paths = tuple((name, *path_of(name)) for name in names if name not in OWN_FIELDS)
        return cls(paths, own) if paths or own else None

    @cached_property
    def text(self) -> str:
        """As JSON, as ``state_aside`` takes them."""
        return msgspec.json.encode([self.paths, self.own]).decode()


def indexes_of(declaration: NamespaceDeclaration) -> tuple[Index, ...]:
    """Return the indexes of a namespace."""
    by_owner = "owner" in declaration.access.list.terms
    return tuple(
        Index(declaration.name, index.fields, index.is_unique, index.statuses, by_owner) for index in declaration.indexes
    )


def all_indexes(declarations: Mapping[str, NamespaceDeclaration]) -> tuple[Index, ...]:
    """Return the indexes of all namespaces."""
    return tuple(index for declaration in declarations.values() for index in indexes_of(declaration))


def problem(index: Index, key: str, holder: str | None) -> str:
    """Return why an index cannot be made ready.

    :param key: the first object that stands in the way. :param holder: who has the same values; None: they are too long.
    """
    if holder is None:
        return f"{index.namespace}/{key} holds more in {index} than the {MOST_BYTES} bytes that an index takes"
    return f"{index.namespace}/{key} and {index.namespace}/{holder} are equal in {index}, which is unique"
