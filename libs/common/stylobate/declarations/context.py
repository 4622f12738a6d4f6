"""What the reader of a declaration file needs to know of the module that the file belongs to."""

from collections.abc import Collection
from dataclasses import dataclass

from stylobate.declarations.model import AccessRule
from stylobate.declarations.report import ModuleReport
from stylobate.declarations.rules import module_of, parse_access_rule
from stylobate.declarations.schemas import SchemaSet
from stylobate.declarations.section import Section


@dataclass(frozen=True, slots=True)
class ModuleContext:
    """The module being read."""

    name: str
    schemas: SchemaSet
    report: ModuleReport

    def rule(self, section: Section, key: str, words: Collection[str], *, required: bool = False) -> AccessRule | None:
        """Return the access rule at the key; None: absent or wrong. What it names is looked for among all modules."""
        rule = section.parsed(key, lambda text: parse_access_rule(text, words=words, module=self.name), required=required)
        if rule is not None:
            line = section.line_of(key)
            self.report.permissions += [section.report.reference(permission, line) for permission in rule.permissions]
            others = (named for term in rule.terms if (named := module_of(term)) not in {"", self.name})
            self.report.handlers += [section.report.reference(named, line) for named in others]
        return rule
