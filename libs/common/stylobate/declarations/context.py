"""What the reader of a declaration file needs to know of the module that the file belongs to."""

from collections.abc import Collection
from dataclasses import dataclass

from stylobate.declarations.model import AccessRule
from stylobate.declarations.report import ModuleReport
from stylobate.declarations.rules import parse_access_rule
from stylobate.declarations.schemas import SchemaSet
from stylobate.declarations.section import Section


@dataclass(frozen=True, slots=True)
class ModuleContext:
    """The module being read."""

    name: str
    schemas: SchemaSet
    report: ModuleReport

    def rule(self, section: Section, key: str, words: Collection[str], *, required: bool = False) -> AccessRule | None:
        """Return the access rule at the key; None: absent or wrong. Its permissions are looked for among all modules."""
        rule = section.parsed(key, lambda text: parse_access_rule(text, words=words), required=required)
        if rule is not None:
            line = section.line_of(key)
            self.report.permissions += [section.report.reference(permission, line) for permission in rule.permissions]
        return rule
