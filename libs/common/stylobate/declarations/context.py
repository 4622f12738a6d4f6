"""What the reader of a declaration file needs to know of the module that the file belongs to."""

from dataclasses import dataclass

from stylobate.declarations.report import ModuleReport
from stylobate.declarations.schemas import SchemaSet


@dataclass(frozen=True, slots=True)
class ModuleContext:
    """The module being read."""

    name: str
    schemas: SchemaSet
    report: ModuleReport
