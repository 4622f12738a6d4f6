"""Findings of the state service, at the places where the caller of a route wrote what they are about."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from stylobate.errors import StylobateError

_ONE = "/keys/0"
_DATA_INVALID = "STATE_DATA_INVALID"


@contextmanager
def as_asked() -> Iterator[None]:
    """Name a place in the first of the keys that are read as the parameter of the path that it came from."""
    with _placed(lambda pointer: pointer.removeprefix(_ONE)):
        yield


@contextmanager
def as_sent() -> Iterator[None]:
    """Name a place in an object's data as one in the body, whose member ``data`` it was."""
    with _placed(lambda pointer: f"/data{pointer}", only=_DATA_INVALID):
        yield


@contextmanager
def _placed(place: Callable[[str], str], only: str = "") -> Iterator[None]:
    try:
        yield
    except StylobateError as error:
        if not only or error.reason == only:
            error.violations = tuple(replace(found, pointer=place(found.pointer)) for found in error.violations)
        raise
