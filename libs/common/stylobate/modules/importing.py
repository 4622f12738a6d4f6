"""Importing ``module.py``.

Each module is a package of its own under a unique name: two modules may have files of the same name, and relative imports
work. A module inside an installed package is imported under its real name.
"""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from stylobate.declarations.model import Finding, ModuleDeclaration
from stylobate.modules.base import BaseModule
from stylobate.modules.containment import EscapedError, told
from stylobate.modules.errors import ModuleLoadError


def module_class(declaration: ModuleDeclaration, packages: Mapping[Path, str] | None = None) -> type[BaseModule] | None:
    """Import the module's code and return its class; None when it has no ``module.py``.

    :param packages: modules that are installed packages and are imported under their own name.
    :raises ModuleLoadError: the code does not import, or holds no class or several.
    """
    file = declaration.folder / "module.py"
    if not file.is_file():
        return None
    package = _installed_name(declaration.folder.resolve(), packages or {}) or _make_package(declaration)
    try:
        code = importlib.import_module(f"{package}.module")
    except BaseException as error:  # a module that ends the process when it is imported ends only itself
        raise ModuleLoadError(declaration.name, [code_finding(error, file, "does not import")]) from error
    classes = [
        value
        for value in vars(code).values()
        if isinstance(value, type) and issubclass(value, BaseModule) and f"{value.__module__}.".startswith(f"{package}.")
    ]
    classes = list(dict.fromkeys(classes))  # a class may have two names
    if len(classes) != 1:
        names = ", ".join(found.__name__ for found in classes)
        problem = f"several classes derive from BaseModule: {names}" if classes else "no class derives from BaseModule"
        raise ModuleLoadError(declaration.name, [Finding(str(file), _line_of_class(classes), problem)])
    return classes[0]


def _installed_name(folder: Path, packages: Mapping[Path, str]) -> str | None:
    if folder in packages:
        return packages[folder]
    return f"{packages[folder.parent]}.{folder.name}" if folder.parent in packages else None


def _make_package(declaration: ModuleDeclaration) -> str:
    """Enter a package for the folder under a name that no other folder has; as usual in Python it is imported once."""
    folder = declaration.folder.resolve()
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    name = f"stylobate_module_{re.sub(r'[^a-z0-9]', '_', declaration.name.lower())}_{digest}"
    if name in sys.modules:
        return name
    initial = folder / "__init__.py"
    if initial.is_file():
        spec = importlib.util.spec_from_file_location(name, initial, submodule_search_locations=[str(folder)])
        if spec is None or spec.loader is None:
            raise ModuleLoadError(declaration.name, [Finding(str(initial), 0, "cannot be imported")])
        package = importlib.util.module_from_spec(spec)
        sys.modules[name] = package
        try:
            spec.loader.exec_module(package)
        except BaseException as error:
            del sys.modules[name]
            raise ModuleLoadError(declaration.name, [code_finding(error, initial, "does not import")]) from error
        return name
    package = ModuleType(name, f"Module {declaration.name}.")
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return name


def code_finding(error: BaseException, file: Path, problem: str) -> Finding:
    """Return the finding for what module code raised: at the last line of the module's own folder that it came through.

    :param file: in the module's folder; named where no line of the module is to blame.
    :param problem: what failed, such as ``does not import``.
    """
    folder = file.parent.resolve()
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).resolve().is_relative_to(folder):
        return Finding(_as_given(error.filename, file), error.lineno or 1, f"{problem}: {error.msg}")
    raised = error.__cause__ if isinstance(error, EscapedError) and error.__cause__ is not None else error
    frames = traceback.extract_tb(raised.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(folder)]
    place, line = (_as_given(own[-1].filename, file), own[-1].lineno or 1) if own else (str(file), 1)
    return Finding(place, line, f"{problem}: {told(error)}")


def _as_given(filename: str, file: Path) -> str:
    """Return a file of the module as the setting names its folder, which may be relative or lie behind a link."""
    return str(file.parent / Path(filename).resolve().relative_to(file.parent.resolve()))


def _line_of_class(classes: list[type[BaseModule]]) -> int:
    try:
        return inspect.getsourcelines(classes[-1])[1] if classes else 0
    except (OSError, TypeError):
        return 0
