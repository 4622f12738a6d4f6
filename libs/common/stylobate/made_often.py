"""Values that are made anew for each write or call: cheap to make, and frozen."""

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

from msgspec import defstruct

T = TypeVar("T")
_FIELDS = "__dataclass_fields__"
_NOT_TAKEN_OVER = frozenset(("__annotations__", "__dict__", "__weakref__"))


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def made_often(cls: type[T]) -> type[T]:
    """Make of a class what ``dataclass(frozen=True, slots=True)`` does, at a quarter of what an instance costs.

    It becomes a msgspec.Struct, whose constructor is C, and costs most of its time looking names up: where each write makes one
    of many fields, they are given by position. What :mod:`dataclasses` has for instances (``replace``, ``fields``) works on it.
    """
    own = {name: value for name, value in vars(cls).items() if name not in _NOT_TAKEN_OVER}
    described: Callable[[type[T]], Any] = dataclass(init=False, repr=False, eq=False, match_args=False)
    known = fields(described(cls))
    for one in known:
        own.pop(one.name, None)
    made = [(one.name, Any) if one.default is MISSING else (one.name, Any, one.default) for one in known]
    own[_FIELDS] = vars(cls)[_FIELDS]
    return defstruct(cls.__name__, made, module=cls.__module__, namespace=own, frozen=True)  # type: ignore[return-value]  # it is one
