"""A mapping of a declaration file, read key by key: wrong types and unknown keys become findings."""

from collections.abc import Callable, Collection, Iterator
from difflib import get_close_matches
from typing import TypeVar

from stylobate.declarations.document import Node
from stylobate.declarations.report import FileReport

T = TypeVar("T")


def did_you_mean(word: str, known: Collection[str]) -> str:
    """Return ``; did you mean `x`?`` when something known is close, else nothing."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean `{close[0]}`?" if close else ""


class Section:
    """One mapping. What is missing or wrong reads as the default given, with a finding where it is wrong."""

    def __init__(self, node: Node, report: FileReport, where: str, keys: Collection[str], later: Collection[str] = ()) -> None:
        """Check the keys.

        :param where: what this is, for messages: ``action shop.pay_order``.
        :param later: keys that have a meaning but that nothing carries out yet.
        """
        self.report = report
        self.where = where
        self.line = node.line
        self.known = keys
        self._values: dict[str, Node] = {}
        self._lines = node.key_lines
        self._meant: set[str] = set()
        if isinstance(node.value, dict):
            self._values = node.value
        elif node.value is not None:
            report.error(node.line, f"{where} must be a mapping of keys to values")
        for key in self._values:
            if key in later:
                report.error(self._lines[key], f"`{key}` is not supported yet ({where})")
            elif key not in keys:
                report.error(self._lines[key], f"unknown key `{key}` in {where}{did_you_mean(key, keys)}")
                self._meant |= set(get_close_matches(key, keys, n=1))

    def __contains__(self, key: str) -> bool:
        """Whether the key is there."""
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        """Yield the keys that are there."""
        return iter(self._values)

    def is_misspelt(self, key: str) -> bool:
        """Whether there is a finding already about a key that was meant to be this one."""
        return key in self._meant and key not in self._values

    def line_of(self, key: str) -> int:
        """Return the line of the key, or of the section when it is absent."""
        return self._lines.get(key, self.line)

    def node(self, key: str) -> Node | None:
        """Return the value as it stands, or None."""
        return self._values.get(key)

    def error(self, key: str, message: str) -> None:
        """Note a finding at the key."""
        self.report.error(self.line_of(key), f"{message} ({self.where})")

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """Return the text at the key."""
        node = self._values.get(key)
        if node is None:
            if required and not self.is_misspelt(key):
                self.report.error(self.line, f"`{key}` is missing in {self.where}")
            return default
        if isinstance(node.value, str) and (node.value or not required):
            return node.value
        hint = "; put it in quotes" if isinstance(node.value, (int, float, bool)) else ""
        self.error(key, f"`{key}` must be text{hint}")
        return default

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return the boolean at the key."""
        node = self._values.get(key)
        if node is None:
            return default
        if not isinstance(node.value, bool):
            self.error(key, f"`{key}` must be true or false")
            return default
        return node.value

    def positive(self, key: str, default: int) -> int:
        """Return the whole number from 1 at the key."""
        node = self._values.get(key)
        if node is None:
            return default
        if not isinstance(node.value, int) or isinstance(node.value, bool) or node.value < 1:
            self.error(key, f"`{key}` must be a whole number from 1")
            return default
        return node.value

    def texts(self, key: str, *, or_one: bool = False) -> tuple[tuple[str, int], ...]:
        """Return the list of texts at the key, each with its line; one alone counts as a list where ``or_one`` says so."""
        node = self._values.get(key)
        if node is None or node.value is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node] if or_one else None
        if items is None or not all(isinstance(item.value, str) and item.value for item in items):
            self.error(key, f"`{key}` must be {'a text or ' if or_one else ''}a list of texts")
            return ()
        names = [str(item.value) for item in items]
        for index, item in enumerate(items):
            if names[index] in names[:index]:
                self.report.error(item.line, f"`{item.value}` stands twice in `{key}` ({self.where})")
        return tuple((str(item.value), item.line) for item in items)

    def entries(self, key: str) -> Iterator[tuple[str, int, Node]]:
        """Yield name, line and value of each entry of the mapping at the key."""
        node = self._values.get(key)
        if node is None or node.value is None:
            return
        if not isinstance(node.value, dict):
            self.error(key, f"`{key}` must be a mapping")
            return
        for name, value in node.value.items():
            yield name, node.key_lines[name], value

    def section(self, key: str, keys: Collection[str], later: Collection[str] = ()) -> "Section":
        """Return the mapping at the key as a section; an empty one when it is absent."""
        node = self._values.get(key) or Node({}, self.line)
        return Section(node, self.report, f"`{key}` of {self.where}", keys, later)

    def parsed(self, key: str, parse: Callable[[str], T], *, required: bool = False, unit: str = "") -> T | None:
        """Return the text at the key through the parser, whose ValueError becomes a finding; None when absent or wrong.

        :param unit: what a bare number lacks, such as ``s``.
        """
        node = self._values.get(key)
        if unit and node is not None and isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
            self.error(key, f"`{key}`: {node.value} has no unit; write `{node.value}{unit}`")
            return None
        text = self.text(key, required=required)
        if not text:
            if key in self and not required and self._values[key].value == "":
                self.error(key, f"`{key}` is empty")
            return None
        try:
            return parse(text)
        except ValueError as error:
            self.error(key, f"`{key}`: {error}")
            return None
