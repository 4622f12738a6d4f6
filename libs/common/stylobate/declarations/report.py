"""Findings while a module is read, each with its file and line."""

from dataclasses import dataclass, field
from pathlib import Path

from stylobate.declarations.model import Finding, Severity


@dataclass(frozen=True, slots=True)
class Reference:
    """A name that one declaration uses and another must introduce."""

    name: str
    file: str
    line: int


@dataclass(slots=True)
class FileReport:
    """Findings of one file."""

    file: str
    findings: list[Finding]

    def error(self, line: int, message: str) -> None:
        """Note what makes the module unusable. ``line`` 0 means the whole file."""
        self.findings.append(Finding(self.file, line, message))

    def warning(self, line: int, message: str) -> None:
        """Note what is probably not meant."""
        self.findings.append(Finding(self.file, line, message, Severity.WARNING))

    def reference(self, name: str, line: int) -> Reference:
        """Return a reference from this file."""
        return Reference(name, self.file, line)


@dataclass(slots=True)
class ModuleReport:
    """What reading one module gathers beside its declaration: findings, and names to be checked against all modules."""

    folder: Path
    findings: list[Finding] = field(default_factory=list)
    dependencies: list[Reference] = field(default_factory=list)
    permissions: list[Reference] = field(default_factory=list)
    """Permissions used in access rules and roles."""
    handlers: list[Reference] = field(default_factory=list)
    """Other modules whose handlers access rules let in."""
    namespaces: list[Reference] = field(default_factory=list)
    """State namespaces that channels refer to."""
    doubtful: set[str] = field(default_factory=set)
    """``permissions``, ``namespaces``: what the module may have meant to introduce, had it been readable."""

    def of(self, file: str) -> FileReport:
        """Return the report of the file in the module's folder."""
        return FileReport(str(self.folder / file), self.findings)

    @property
    def has_errors(self) -> bool:
        """Whether the module must be left out."""
        return any(finding.severity is Severity.ERROR for finding in self.findings)
