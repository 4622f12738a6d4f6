"""Schemas of modules among the document's components, each under a name of its own: ``shop.Order``."""

import re
from collections.abc import Collection
from typing import Any

import orjson
from stylobate import strict_json

from stylobate_gateway.schemas.common import TEXT

_DEFINITION = "#/$defs/"
_COMPONENT = "#/components/schemas/"
_UNNAMEABLE = re.compile(r"[^A-Za-z0-9._-]+")


class Components:
    """The document's schemas. What two modules, or the two sides of a module, call alike is told apart."""

    def __init__(self, schemas: dict[str, Any]) -> None:
        self._schemas = schemas
        self._content: dict[str, bytes] = dict.fromkeys(schemas, b"")

    def read(self, module: str, schema: bytes, *, is_input: bool) -> "ModuleSchema":
        """Return a module's schema; what it defines becomes a component when it is referred to."""
        return ModuleSchema(self, module, orjson.loads(schema), is_input=is_input)

    def name_for(self, wanted: str, side: str, content: bytes) -> tuple[str, bool]:
        """Return the name under which the content stands or may stand, and whether it stands there already."""
        for number in range(len(self._content) + 1):
            name = (wanted, wanted + side)[min(number, 1)] + (str(number) if number > 1 else "")
            if name not in self._content:
                self._content[name] = content
                return name, False
            if self._content[name] == content:
                return name, True
        raise AssertionError("one of the names tried must be free")

    def add(self, name: str, schema: Any) -> None:
        """Enter a component; generators take its title for its name, which must be its own."""
        self._schemas[name] = {**schema, "title": name} if isinstance(schema, dict) and "title" in schema else schema


class ModuleSchema:
    """One self-contained schema on its way into the document."""

    def __init__(self, components: Components, module: str, schema: dict[str, Any], *, is_input: bool) -> None:
        self._components = components
        self._module = module
        self._definitions: dict[str, Any] = schema.pop("$defs", {})
        self._schema = schema
        self._is_input = is_input
        self._names: dict[str, str] = {}

    def whole(self) -> dict[str, Any]:
        """Return the schema, as a reference where it has a name."""
        title = self._schema.get("title")
        if isinstance(title, str) and "properties" in self._schema:
            self._definitions.setdefault(title, self._schema)
            if self._definitions[title] is self._schema:
                return {"$ref": self._component(title)}
        whole: dict[str, Any] = self.part(self._schema)
        return whole

    def without(self, names: Collection[str]) -> dict[str, Any] | None:
        """Return the schema of the object without these fields; None where nothing is left of it."""
        whole = self._schema
        while isinstance(reference := whole.get("$ref"), str):
            whole = self._definitions[reference.removeprefix(_DEFINITION)]
        fields = {name: field for name, field in whole["properties"].items() if name not in names}
        if not fields and whole.get("additionalProperties") is False:
            return None
        required = [name for name in whole.get("required", ()) if name not in names]
        rest = {key: value for key, value in whole.items() if key not in {"title", "required"}} | {"properties": fields}
        return self.part(rest | ({"required": required} if required else {}))  # type: ignore[no-any-return]

    def part(self, value: Any) -> Any:
        """Return a part of the schema as it stands in the document."""
        if isinstance(value, list):
            return [self.part(item) for item in value]
        if not isinstance(value, dict):
            return value
        return _bounds(value) | {key: self._keyword(key, inner) for key, inner in value.items()}

    def _keyword(self, key: str, value: Any) -> Any:
        if key == "$ref" and isinstance(value, str) and value.startswith(_DEFINITION):
            return self._component(value.removeprefix(_DEFINITION))
        if key == "properties" and isinstance(value, dict):
            fields = {name: untitled(self.part(field)) for name, field in value.items()}
            return {name: _without_default(field) for name, field in fields.items()} if self._is_input else fields
        if key in {"const", "default", "enum", "examples"}:
            return value
        return self.part(value)

    def _component(self, definition: str) -> str:
        name = self._names.get(definition)
        if name is None:
            wanted = definition if definition.startswith(f"{self._module}.") else f"{self._module}.{definition}"
            side = "Input" if self._is_input else "Output"
            name, stands = self._components.name_for(_UNNAMEABLE.sub("_", wanted), side, self._content(definition))
            self._names[definition] = name
            if not stands:
                self._components.add(name, self.part(self._definitions[definition]))
        return _COMPONENT + name

    def _content(self, definition: str) -> bytes:
        """Return what tells a definition from another of the same name: it and all that it refers to, on its side."""
        reached: dict[str, Any] = {}
        todo = [definition]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached[name] = self._definitions[name]
                todo += _references(reached[name])
        has_defaults = self._is_input and b'"default"' in orjson.dumps(reached)
        return orjson.dumps([has_defaults, reached], option=orjson.OPT_SORT_KEYS)


def _bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """Return what holds for every text and whole number, where the schema itself says nothing nearer."""
    match schema.get("type"):
        case "string" if not schema.keys() & {"pattern", "format", "enum", "const"}:
            return {"pattern": TEXT}
        case "integer" if not schema.keys() & {"enum", "const"}:
            low = {} if schema.keys() & {"minimum", "exclusiveMinimum"} else {"minimum": strict_json.MIN_INTEGER}
            return low | ({} if schema.keys() & {"maximum", "exclusiveMaximum"} else {"maximum": strict_json.MAX_INTEGER})
        case _:
            return {}


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in _references(item)]
    if not isinstance(value, dict):
        return []
    found = [name for inner in value.values() for name in _references(inner)]
    reference = value.get("$ref")
    if isinstance(reference, str) and reference.startswith(_DEFINITION):
        found.append(reference.removeprefix(_DEFINITION))
    return found


def untitled(field: Any) -> Any:
    """Leave the title of a field out: it is its name once more, and generators take it for the name of a type."""
    return {key: value for key, value in field.items() if key != "title"} if isinstance(field, dict) else field


def _without_default(field: Any) -> Any:
    """Say a default in words: generators take a field that has one for a field that is always there."""
    if not isinstance(field, dict) or "default" not in field:
        return field
    rest = {key: value for key, value in field.items() if key != "default"}
    if field["default"] is not None:
        told = f"Left out: `{orjson.dumps(field['default']).decode()}`."
        rest["description"] = f"{rest['description']} {told}" if rest.get("description") else told
    return rest
