"""Modules with their code: what it declares joins what the files say, and both are checked beside all other modules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from stylobate.declarations.crosscheck import ModuleDraft, check_names
from stylobate.declarations.model import Declarations, Finding, ModuleDeclaration
from stylobate.declarations.report import ModuleReport
from stylobate.modules.actions import read_decorated, read_written
from stylobate.modules.base import BaseModule
from stylobate.modules.errors import ModuleLoadError
from stylobate.modules.importing import module_class


@dataclass(frozen=True, slots=True)
class CodedModule:
    """A module whose code was imported, or could not be."""

    declaration: ModuleDeclaration
    """With the actions that the code declares."""
    owner: type[BaseModule] | None
    """Its class; None: it has no code."""
    findings: tuple[Finding, ...]
    """What is wrong with the declarations in its code."""
    error: ModuleLoadError | None
    """Why the code could not be imported."""


def with_code(
    declarations: Declarations,
    packages: Mapping[Path, str],
    on_import: Callable[[str], None] = lambda _: None,
    *,
    also_broken: bool = True,
) -> list[CodedModule]:
    """Import the code of the modules, which runs it, and return them in the order of the declarations, those with errors last.

    Of a module that depends on one whose code does not import nothing is run, unless the broken ones are asked for too.

    :param packages: modules that are installed packages and are imported under their own name.
    :param on_import: is told each file of code before it is run.
    :param also_broken: whether also of the modules whose files have errors.
    """
    found: list[tuple[ModuleDraft, type[BaseModule] | None, ModuleLoadError | None]] = []
    out = set() if also_broken else {declaration.name for declaration in declarations.broken}
    for declaration in (*declarations.modules, *declarations.broken):
        report = ModuleReport(declaration.folder, doubtful=set(declaration.doubtful))
        owner, error = None, None
        if not also_broken and not out.isdisjoint((declaration.name, *declaration.dependencies)):
            out.add(declaration.name)
        else:
            on_import(str(declaration.folder / "module.py"))
            try:
                owner = module_class(declaration, packages)
            except ModuleLoadError as failed:
                error = failed
                out.add(declaration.name)
        own = tuple(read_decorated(declaration, owner, report) if owner is not None else read_written(declaration))
        found.append((ModuleDraft(replace(declaration, actions=(*declaration.actions, *own)), report), owner, error))
    check_names([draft for draft, _, _ in found])
    coded = [CodedModule(draft.declaration, owner, tuple(draft.report.findings), error) for draft, owner, error in found]
    return coded if also_broken else coded[: len(declarations.modules)]
