"""Shapes: what a handler's annotation says about JSON, as a schema and as a conversion.

pydantic reads models, dataclasses and plain types; msgspec reads what pydantic leaves out on Python 3.11
(``typing.TypedDict``).
"""

import inspect
from collections import abc
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

import msgspec
import pydantic

from stylobate.declarations.compiled import closed, pointer
from stylobate.declarations.model import JsonSchema
from stylobate.errors import Violation
from stylobate.modules.errors import ActionInputInvalidError

_RAW: tuple[Any, ...] = (inspect.Parameter.empty, Any, object, dict, Mapping, MutableMapping, None, type(None))
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


@dataclass(frozen=True, slots=True)
class Shape:
    """An annotation, understood."""

    schema: JsonSchema | None
    """Self-contained JSON Schema 2020-12; None when the annotation says nothing."""
    convert: Callable[[Any], Any] | None
    """JSON values to the annotated type; raises ActionInputInvalidError. None: passed on as they are."""


def shape_of(annotation: Any, *, output: bool = False) -> Shape:
    """Return the shape of an annotation. Raises TypeError when it cannot be read from or written as JSON.

    The schema of an input is closed: a member that the type does not have is refused, never passed over.
    """
    if _says_nothing(annotation):
        return Shape(None, None)
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        schema = adapter.json_schema(mode="serialization" if output else "validation")
    except pydantic.PydanticUserError as error:
        if error.code != "typed-dict-version":
            raise TypeError(f"{_name(annotation)} has no JSON form: {error.message}") from error
        return _msgspec_shape(annotation, output=output)
    return Shape(schema if output else closed(schema), _pydantic_converter(adapter))


def _says_nothing(annotation: Any) -> bool:
    if get_origin(annotation) in _MAPPINGS:
        return get_args(annotation)[1] in {Any, object}
    return annotation in _RAW


def _pydantic_converter(adapter: pydantic.TypeAdapter[Any]) -> Callable[[Any], Any]:
    validate = adapter.validate_python

    def convert(value: Any) -> Any:
        try:
            return validate(value)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise ActionInputInvalidError(
                violations=[Violation(pointer(list(entry["loc"])), entry["msg"]) for entry in found]
            ) from None

    return convert


def _msgspec_shape(annotation: Any, *, output: bool) -> Shape:
    try:
        schema = msgspec.json.schema(annotation)
    except TypeError as error:
        raise TypeError(f"{_name(annotation)} has no JSON form: {error}") from error

    def convert(value: Any) -> Any:
        try:
            return msgspec.convert(value, annotation)
        except msgspec.ValidationError as error:
            detail, _, place = str(error).partition(" - at ")
            raise ActionInputInvalidError(violations=[Violation(_from_path(place), detail)]) from None

    return Shape(schema if output else closed(schema), convert)


def _from_path(place: str) -> str:
    """Turn msgspec's ``$.items[0].sku`` between backquotes into a JSON pointer."""
    path = place.strip("`").removeprefix("$").replace("[...]", "").replace("[", ".").replace("]", "")
    return pointer([step for step in path.split(".") if step])


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
