"""A YAML file as JSON values that know their line.

Scalars follow the core schema of YAML 1.2: ``on``, ``yes`` and ``2024-01-01`` are text, only ``true`` and ``false`` are
booleans. What has no place in JSON (other tags, keys that are not text, infinities) and a key given twice are findings.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml

from stylobate.declarations.report import FileReport

_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_TEXT = "tag:yaml.org,2002:str"

_SIGNS = "[ ] { } : # & * ! % @ or `"
_OF_SIGNS = ("<scalar>", "cannot start any token", "mapping values are not allowed", "undefined alias")
"""In problems that such a sign makes where nobody meant it."""

_MAX_DEPTH = 120
_MAX_VALUES = 100_000
"""Of one file, those counted again that an alias repeats."""

Scalar = str | int | float | bool | None


class _Bounded:
    """Composes nodes from a parser's events, no deeper than the bound."""

    _depth = 0

    def compose_node(self: Any, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose what comes next. Raises MarkedYAMLError too deep."""
        if self._depth == _MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"nested more than {_MAX_DEPTH} deep", mark)
        self._depth += 1
        try:
            node: yaml.Node | None = yaml.composer.Composer.compose_node(self, parent, index)
            return node
        finally:
            self._depth -= 1


class _CoreLoader(_Bounded, yaml.SafeLoader):
    """PyYAML's loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]  # a class variable there too; the stub errs


_CoreLoader.add_implicit_resolver(_NULL, re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""])
_CoreLoader.add_implicit_resolver(_BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_CoreLoader.add_implicit_resolver(_INT, re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_CoreLoader.add_implicit_resolver(
    _FLOAT,
    re.compile(r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"),
    list("-+.0123456789"),
)


if yaml.__with_libyaml__:

    class _QuickLoader(_Bounded, yaml.composer.Composer, yaml.CSafeLoader):
        """The same on libyaml's parser, five times as quick; its errors are in other words."""

        yaml_implicit_resolvers = _CoreLoader.yaml_implicit_resolvers

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            yaml.composer.Composer.__init__(self)

else:
    _QuickLoader = _CoreLoader  # type: ignore[assignment,misc]


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands."""

    value: "Scalar | dict[str, Node] | list[Node]"
    line: int
    """From 1: where the value begins."""
    key_lines: Mapping[str, int] = field(default_factory=dict)
    """For a mapping: the line of each key."""
    column: int = 0
    """From 1: where a text begins that stands in its line (behind a quotation mark); 0 for a block, which begins a line below."""

    def plain(self) -> Any:
        """Return the JSON value without places."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def line_at(self, path: Sequence[str | int]) -> int:
        """Return the line of what stands at the path, or of the nearest thing above it."""
        node, line = self, self.line
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                line = node.key_lines[str(step)]
                node = node.value[str(step)]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.line
            else:
                break
        return line


def parse_document(content: bytes, report: FileReport) -> Node | None:
    """Return the file's value, or None with findings when it cannot be read. An empty file is an empty mapping."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        report.error(content.count(b"\n", 0, error.start) + 1, "not UTF-8 text")
        return None
    try:
        tree = _composed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if error.context_mark and any(end in (error.problem or "") for end in ("end of stream", "<stream end>")):
            mark = error.context_mark  # what is never closed stands where it was opened
        report.error(mark.line + 1 if mark else 0, f"bad YAML: {_explained(error)}")
        return None
    except yaml.reader.ReaderError as error:
        report.error(text.count("\n", 0, error.position) + 1, f"bad YAML: {error.reason}")
        return None
    if tree is None:
        return Node({}, 1)
    before = len(report.findings)
    node = _Converter(report).convert(tree)
    return node if len(report.findings) == before else None


def _composed(text: str) -> yaml.Node | None:
    """Return the tree of nodes. Raises YAMLError, in PyYAML's own words."""
    try:
        return yaml.compose(text, Loader=_QuickLoader)
    except yaml.YAMLError:
        return yaml.compose(text, Loader=_CoreLoader)


def _explained(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if "'\\t'" in problem:
        return "a tab; YAML is indented with spaces"
    explained = f"{problem} ({error.context})" if error.context else problem
    return f"{explained}; a text that holds {_SIGNS} goes in quotes" if any(sign in problem for sign in _OF_SIGNS) else explained


class _Converter:
    """Turns PyYAML's nodes into ours."""

    def __init__(self, report: FileReport) -> None:
        self._report = report
        self._open: set[int] = set()
        self._left = _MAX_VALUES

    def convert(self, node: yaml.Node) -> Node:
        line = node.start_mark.line + 1
        self._left -= 1
        if self._left <= 0:
            if not self._left:
                self._report.error(line, f"more than {_MAX_VALUES:,} values; an alias repeats all that it stands for")
            return Node(None, line)
        if isinstance(node, yaml.ScalarNode):
            column = 0 if node.style in {"|", ">"} else node.start_mark.column + 1 + (node.style in {"'", '"'})
            return Node(self._scalar(node, line), line, column=column)
        if id(node) in self._open:
            self._report.error(line, "an alias that contains itself")
            return Node(None, line)
        self._open.add(id(node))
        converted = self._mapping(node, line) if isinstance(node, yaml.MappingNode) else self._sequence(node, line)
        self._open.discard(id(node))
        return converted

    def _sequence(self, node: yaml.Node, line: int) -> Node:
        return Node([self.convert(child) for child in node.value], line)

    def _mapping(self, node: yaml.MappingNode, line: int) -> Node:
        values: dict[str, Node] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TEXT:
                self._report.error(key_line, f"the key {_source(key_node)} is not text; put it in quotes")
                continue
            key = str(key_node.value)
            if key in values:
                self._report.error(key_line, f"`{key}` stands twice; first in line {lines[key]}")
                continue
            values[key] = self.convert(value_node)
            lines[key] = key_line
        return Node(values, line, lines)

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Scalar:
        text = str(node.value)
        value: Scalar = None
        try:
            match node.tag:
                case "tag:yaml.org,2002:str":
                    value = text
                case "tag:yaml.org,2002:null":
                    pass
                case "tag:yaml.org,2002:bool":
                    value = text.lower() == "true"
                case "tag:yaml.org,2002:int":
                    value = int(text)
                case "tag:yaml.org,2002:float":
                    value = self._finite(text.lower().replace(".inf", "inf").replace(".nan", "nan"), line)
                case tag:
                    self._report.error(line, f"the tag {tag} has no meaning here")
        except ValueError:
            self._report.error(line, f"{text!r} is not what its tag says")
        return value

    def _finite(self, text: str, line: int) -> float | None:
        number = float(text)
        if math.isfinite(number):
            return number
        self._report.error(line, f"{text} is not a JSON number")
        return None


def _source(node: yaml.Node) -> str:
    return f"`{node.value}`" if isinstance(node, yaml.ScalarNode) else "here"
