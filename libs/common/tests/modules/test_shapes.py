"""Shapes: schemas and conversions from annotations."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from pydantic import AfterValidator, BaseModel, Field
from stylobate.declarations import CompiledSchema
from stylobate.declarations.compiled import closed
from stylobate.modules.errors import ActionInputInvalidError
from stylobate.modules.shapes import shape_of


class Pet(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    born: datetime | None = None


@dataclass
class Owner:
    pets: list[Pet]
    id: UUID


class Box(TypedDict, total=False):
    width: int
    when: datetime


@pytest.mark.parametrize("annotation", [Any, object, dict, dict[str, Any], None])
def test_an_annotation_that_says_nothing_leaves_the_value_alone(annotation: Any) -> None:
    """Without a shape there is neither a schema nor a conversion."""
    shape = shape_of(annotation)
    assert (shape.schema, shape.convert) == (None, None)


def test_models_inside_dataclasses_are_read_and_converted() -> None:
    """A tree of dataclass, list, pydantic model, UUID and datetime comes out of JSON values typed."""
    shape = shape_of(Owner)
    value = {"id": "0190f6a0-0000-7000-8000-000000000001", "pets": [{"name": "Rex", "born": "2020-01-02T03:04:05Z"}]}
    assert shape.schema is not None
    assert shape.convert is not None
    assert CompiledSchema(shape.schema).is_valid(value)
    owner = shape.convert(value)
    assert isinstance(owner, Owner)
    assert isinstance(owner.id, UUID)
    assert owner.pets[0].born == datetime.fromisoformat("2020-01-02T03:04:05+00:00")


def test_a_typed_dict_is_read_and_converted() -> None:
    """`typing.TypedDict` works on Python 3.11, nested datetimes included."""
    shape = shape_of(Box)
    assert shape.convert is not None
    assert shape.convert({"when": "2020-01-02T03:04:05Z"}) == {"when": datetime.fromisoformat("2020-01-02T03:04:05+00:00")}
    with pytest.raises(ActionInputInvalidError) as refused:
        shape.convert({"width": "wide"})
    assert refused.value.violations[0].pointer == "/width"


@pytest.mark.parametrize("annotation", [Owner, Box, Pet, list[Owner]])
def test_the_schema_of_an_input_is_closed_at_every_level(annotation: Any) -> None:
    """A member that no type has is refused wherever it stands, never passed over."""
    shape = shape_of(annotation)
    assert shape.schema is not None
    schema = CompiledSchema(shape.schema)
    pet = {"name": "Rex", "unknown": 1}
    owner = {"id": "0190f6a0-0000-7000-8000-000000000001", "pets": [pet]}
    value: Any = {Owner: owner, Box: {"unknown": 1}, Pet: pet}.get(annotation, [owner])
    assert [violation.detail for violation in schema.violations(value)] == ["is not known here"]


def test_a_text_is_not_taken_for_a_boolean() -> None:
    """`"false"` is not a boolean, so it cannot be a true one."""
    shape = shape_of(bool)
    assert shape.schema is not None
    assert not CompiledSchema(shape.schema).is_valid("false")


def test_a_schema_that_is_open_on_purpose_stays_open() -> None:
    """Closing respects what is said, and a property may be named like a keyword."""
    schema = {"properties": {"properties": {"type": "string"}, "map": {"properties": {}, "additionalProperties": True}}}
    assert closed(schema) == {
        "properties": {"properties": {"type": "string"}, "map": {"properties": {}, "additionalProperties": True}},
        "additionalProperties": False,
    }


def test_conversion_failures_point_at_their_place() -> None:
    """What only the type knows (a bad UUID) is reported like a schema violation."""
    shape = shape_of(Owner)
    assert shape.convert is not None
    with pytest.raises(ActionInputInvalidError) as refused:
        shape.convert({"id": "x", "pets": [{"name": ""}]})
    assert {violation.pointer for violation in refused.value.violations} == {"/id", "/pets/0/name"}


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("must be even, as gloves are")
    return value


def test_a_validator_of_a_module_is_quoted_word_for_word() -> None:
    """What its author wrote, with nothing before it."""
    shape = shape_of(Annotated[int, AfterValidator(_even)])
    assert shape.convert is not None
    with pytest.raises(ActionInputInvalidError) as refused:
        shape.convert(3)
    assert [violation.detail for violation in refused.value.violations] == ["must be even, as gloves are"]


def test_a_type_without_a_json_form_is_named() -> None:
    """The author learns which annotation cannot be used."""

    class Socket:
        pass

    with pytest.raises(TypeError, match="Socket has no JSON form"):
        shape_of(Socket)
