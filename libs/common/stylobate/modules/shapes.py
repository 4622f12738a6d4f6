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

from stylobate.declarations.compiled import closed
from stylobate.declarations.model import JsonSchema
from stylobate.errors import Violation
from stylobate.json_pointer import pointer
from stylobate.modules.errors import ActionInputInvalidError
from stylobate.validation import said

_RAW: tuple[Any, ...] = (inspect.Parameter.empty, Any, object, dict, Mapping, MutableMapping, None, type(None))
_SERIALIZED = ("serializ", "ser_", "computed_fields")
"""How keys of pydantic's core begin that say how a value is written."""
_WIDER = {
    "time": r"^\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?$",
    "duration": r"^[-+]?P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$",
    "uri": "",
    "regex": "",
}
"""Formats by what is asked for instead: times without an offset, durations with fractions or a sign, Python's own patterns."""
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


@dataclass(frozen=True, slots=True)
class Shape:
    """An annotation, understood."""

    schema: JsonSchema | None
    """Self-contained JSON Schema 2020-12; None when the annotation says nothing."""
    convert: Callable[[Any], Any] | None
    """JSON values to the annotated type; raises ActionInputInvalidError. None: passed on as they are."""
    dump: Callable[[Any], Any] | None = None
    """Values of the annotated type to what JSON has, where the annotation says how; None: as :func:`.payload.encode` does."""


def shape_of(annotation: Any, *, output: bool = False) -> Shape:
    """Return the shape of an annotation. Raises TypeError when it cannot be read from or written as JSON.

    The schema of an input is closed: a member that the type does not have is refused, never passed over.
    """
    if _says_nothing(annotation):
        return Shape(None, None)
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return _msgspec_shape(annotation, output=output)
    try:
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(annotation)
        schema = adapter.json_schema(mode="serialization" if output else "validation")
    except pydantic.PydanticUserError as error:
        if error.code != "typed-dict-version":
            raise TypeError(f"{_name(annotation)} has no JSON form: {error.message}") from error
        return _msgspec_shape(annotation, output=output)
    traits = _traits(adapter.core_schema)
    if "naive" in traits:
        raise TypeError(f"{_name(annotation)} has no JSON form: a datetime without an offset is not one of RFC 3339")
    if output and _is_written_only(schema):
        raise TypeError(f"{_name(annotation)} has no JSON form: a secret is never written out")
    schema = told(schema if output else closed(schema))
    return Shape(schema, _pydantic_converter(adapter), _pydantic_dumper(adapter) if "serialized" in traits else None)


def _says_nothing(annotation: Any) -> bool:
    if get_origin(annotation) in _MAPPINGS:
        return get_args(annotation)[1] in {Any, object}
    return annotation in _RAW


def told(schema: Any) -> Any:
    """Return the schema with the formats that Python's types read and write more widely than JSON Schema knows them."""
    if isinstance(schema, list):
        return [told(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {keyword: told(value) for keyword, value in schema.items()}
    if result.get("type") == "string" and result.get("format") in _WIDER:
        pattern = _WIDER[result.pop("format")]
        return {**result, "pattern": pattern} if pattern else result
    return result


def _traits(core: Any) -> set[str]:
    """Return what is special about a schema of pydantic's core: ``serialized``, ``naive``."""
    found: set[str] = set()
    todo = [core]
    while todo:
        part = todo.pop()
        if isinstance(part, dict):
            if any(str(key).startswith(_SERIALIZED) and value for key, value in part.items()):
                found.add("serialized")
            if part.get("tz_constraint") == "naive":
                found.add("naive")
            todo += part.values()
        elif isinstance(part, (list, tuple)):
            todo += part
    return found


def _is_written_only(schema: Any) -> bool:
    if isinstance(schema, dict):
        return schema.get("writeOnly") is True or any(map(_is_written_only, schema.values()))
    return isinstance(schema, list) and any(map(_is_written_only, schema))


def _pydantic_dumper(adapter: pydantic.TypeAdapter[Any]) -> Callable[[Any], Any]:
    def dump(value: Any) -> Any:
        return adapter.dump_python(value, mode="json", by_alias=True, warnings=False)  # the output's schema judges

    return dump


def _pydantic_converter(adapter: pydantic.TypeAdapter[Any]) -> Callable[[Any], Any]:
    validate = adapter.validate_python

    def convert(value: Any) -> Any:
        try:
            return validate(value)
        except pydantic.ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            raise ActionInputInvalidError(violations=[Violation(pointer(entry["loc"]), said(entry)) for entry in found]) from None

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

    def dump(value: Any) -> Any:
        return msgspec.to_builtins(value, str_keys=True)

    return Shape(told(schema if output else closed(schema)), convert, dump)


def _from_path(place: str) -> str:
    """Turn msgspec's ``$.items[0].sku`` between backquotes into a JSON pointer."""
    path = place.strip("`").removeprefix("$").replace("[...]", "").replace("[", ".").replace("]", "")
    return pointer(step for step in path.split(".") if step)


def _name(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
