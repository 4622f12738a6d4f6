"""JSON Schemas in declarations: checked with positions, their references resolved into self-contained documents.

``#/schemas/Order`` (in actions.yaml) and ``actions.yaml#/schemas/Order`` (elsewhere) become ``#/$defs/shop.Order`` with the
definition inside, so that a consumer needs nothing beside the schema, and OpenAPI can lift ``$defs`` into
``#/components/schemas`` under the same names.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from stylobate.declarations.compiled import CompiledSchema
from stylobate.declarations.document import Node
from stylobate.declarations.model import JsonSchema
from stylobate.declarations.report import FileReport
from stylobate.declarations.section import did_you_mean

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE = re.compile(r"(?P<file>[^#]*)#/schemas/(?P<name>[^/]+)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")

_SCHEMA = (
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_SCHEMAS = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED_SCHEMAS = ("dependentSchemas", "patternProperties", "properties")
_PLAIN = (
    "$comment", "$schema", "const", "contentEncoding", "contentMediaType", "default", "dependentRequired", "deprecated",
    "description", "enum", "examples", "exclusiveMaximum", "exclusiveMinimum", "format", "maxContains", "maxItems",
    "maxLength", "maxProperties", "maximum", "minContains", "minItems", "minLength", "minProperties", "minimum", "multipleOf",
    "pattern", "readOnly", "required", "title", "type", "uniqueItems", "writeOnly",
)  # fmt: skip
_KEYWORDS = (*_SCHEMA, *_SCHEMAS, *_NAMED_SCHEMAS, *_PLAIN, "$ref")
_ELSEWHERE = ("$anchor", "$defs", "$dynamicAnchor", "$dynamicRef", "$id", "$vocabulary", "definitions")
_MAX_DEPTH = 50
FORMATS = (
    "date", "date-time", "duration", "email", "hostname", "idn-email", "idn-hostname", "ipv4", "ipv6", "iri", "iri-reference",
    "json-pointer", "regex", "relative-json-pointer", "time", "uri", "uri-reference", "uri-template", "uuid",
)  # fmt: skip
"""Those of JSON Schema 2020-12 (validation, section 7.3); each is checked."""


class SchemaSet:
    """The named schemas of one module's actions.yaml, and the resolver of every schema in that module."""

    def __init__(self, module: str, node: Node | None, report: FileReport, *, file: str = "actions.yaml") -> None:
        """Read and check the named schemas; ``node`` is None where actions.yaml could not be read (nothing is reported twice)."""
        self._module = module
        self._file = file
        self._unreadable = node is None
        self._names: frozenset[str] = frozenset()
        self._named: dict[str, tuple[Any, frozenset[str]]] = {}
        """By name: the schema with its references rewritten, and the names that it refers to."""
        if node is None or node.value is None:
            return
        if not isinstance(node.value, dict):
            report.error(node.line, "`schemas` must be a mapping of names to JSON Schemas")
            return
        self._names = frozenset(node.value)
        for name, schema in node.value.items():
            if not _NAME.fullmatch(name):
                report.error(node.key_lines[name], f"{name!r} is not a valid schema name; use letters, digits and _")
            self._named[name] = self._checked(schema, report, file)

    def resolve(self, node: Node, report: FileReport, file: str) -> JsonSchema | None:
        """Return the self-contained schema; None with findings where it is wrong. ``file`` is where the node stands."""
        before = len(report.findings)
        schema, names = self._checked(node, report, file)
        if len(report.findings) > before:
            return None
        if not isinstance(schema, dict):
            return {} if schema else {"not": {}}
        reached = self._closure(names)
        if not reached:
            return schema
        return {**schema, "$defs": {self._definition(name): self._named[name][0] for name in sorted(reached)}}

    def _closure(self, names: frozenset[str]) -> set[str]:
        reached: set[str] = set()
        todo = [name for name in names if name in self._named]
        while todo:
            name = todo.pop()
            if name not in reached:
                reached.add(name)
                todo += [other for other in self._named[name][1] if other in self._named]
        return reached

    def _definition(self, name: str) -> str:
        return f"{self._module}.{name}"

    def _checked(self, node: Node, report: FileReport, file: str) -> tuple[Any, frozenset[str]]:
        """Return the schema with its references rewritten, and the names that it refers to."""
        before = len(report.findings)
        walk = _Walk(report, lambda text: self._target(text, file), self._definition)
        schema = walk.schema(node, 0)
        if len(report.findings) == before:
            _check_against_dialect(node, report)
        if len(report.findings) == before:
            _check_patterns(walk.patterns, report)
        return schema, frozenset(walk.names)

    def _target(self, text: str, file: str) -> str:
        """Return the name that the reference means. Raises ValueError."""
        match = _REFERENCE.fullmatch(text)
        expected = "" if file == self._file else self._file
        if match is None or match["file"] not in {expected, self._file}:
            raise ValueError(f"`$ref` must be `{expected}#/schemas/<Name>`, not {text!r}")
        name = match["name"]
        if name not in self._names and not self._unreadable:
            raise ValueError(f"`$ref`: there is no schema `{name}` in {self._file}{did_you_mean(name, self._names)}")
        return name


class _Walk:
    """One schema on its way from file to result."""

    def __init__(self, report: FileReport, target: Callable[[str], str], definition: Callable[[str], str]) -> None:
        self._report = report
        self._target = target
        self._definition = definition
        self.names: set[str] = set()
        self.patterns: list[tuple[str, int]] = []
        """Each with its line."""

    def schema(self, node: Node, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            self._report.error(node.line, f"a schema nested more than {_MAX_DEPTH} deep")
            return {}
        if isinstance(node.value, bool):
            return node.value
        if not isinstance(node.value, dict):
            self._report.error(node.line, "a JSON Schema must be a mapping, true or false")
            return {}
        self._check_required(node.value)
        return {key: self._keyword(key, node.key_lines[key], child, depth) for key, child in node.value.items()}

    def _check_required(self, keywords: Mapping[str, Node]) -> None:
        """Report members that must be there and may not be there."""
        required, properties, rest = (keywords.get(key) for key in ("required", "properties", "additionalProperties"))
        if required is None or properties is None or rest is None or rest.value is not False or "patternProperties" in keywords:
            return
        if isinstance(required.value, list) and isinstance(properties.value, dict):
            for item in required.value:
                if isinstance(item.value, str) and item.value not in properties.value:
                    hint = did_you_mean(item.value, properties.value)
                    self._report.error(item.line, f"`{item.value}` is required but is not among the `properties`{hint}")

    def _keyword(self, key: str, line: int, value: Node, depth: int) -> Any:
        if key == "$ref":
            return self._reference(value)
        if key in _SCHEMA:
            return self.schema(value, depth + 1)
        if key in _SCHEMAS and isinstance(value.value, list):
            return [self.schema(child, depth + 1) for child in value.value]
        if key in _NAMED_SCHEMAS and isinstance(value.value, dict):
            if key == "patternProperties":
                self.patterns += value.key_lines.items()
            return {name: self.schema(child, depth + 1) for name, child in value.value.items()}
        if problem := self._problem(key, value, line):
            self._report.error(line, problem)
        return value.plain()

    def _problem(self, key: str, value: Node, line: int) -> str:
        """Return what is wrong with a keyword that holds no schema; empty when nothing is."""
        text = value.value if isinstance(value.value, str) else ""
        if key in _ELSEWHERE:
            return f"`{key}` is not taken here; put the schema under `schemas` and use `#/schemas/<Name>`"
        if key == "$schema" and text != DIALECT:
            return f"`$schema` can only be {DIALECT}"
        if key == "pattern":
            self.patterns.append((text, line))
            return "" if isinstance(value.value, str) else "`pattern` must be text; put it in quotes"
        if key == "format" and text and text not in FORMATS:
            return f"`{text}` is not a format of JSON Schema{did_you_mean(text, FORMATS)}"
        if key not in _KEYWORDS and not key.startswith("x-"):
            return f"`{key}` is not a keyword of JSON Schema{did_you_mean(key, _KEYWORDS)}"
        return ""

    def _reference(self, node: Node) -> str:
        try:
            name = self._target(str(node.plain()))
        except ValueError as error:
            self._report.error(node.line, str(error))
            return ""
        self.names.add(name)
        return f"#/$defs/{self._definition(name)}"


@cache
def _dialect() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": DIALECT}, validate_formats=True)


def _check_against_dialect(node: Node, report: FileReport) -> None:
    seen: set[tuple[int, str]] = set()
    for error in _dialect().iter_errors(node.plain()):
        place = ".".join(str(step) for step in error.instance_path)
        finding = (node.line_at(error.instance_path), f"no valid JSON Schema: `{place}`: {error.message}")
        if finding not in seen:
            seen.add(finding)
            report.error(*finding)


def _check_patterns(patterns: list[tuple[str, int]], report: FileReport) -> None:
    """Report what has the form of a regular expression but is not one for the engine that will check with it."""
    for pattern, line in patterns:
        try:
            CompiledSchema({"pattern": pattern})
        except ValueError:
            report.error(line, f"`{pattern}` is not a regular expression")
