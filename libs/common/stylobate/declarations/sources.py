"""Where modules are: the setting ``modules`` turned into module folders."""

import importlib.util
import os
from pathlib import Path

from stylobate.declarations.model import Finding

MODULE_FILE = "module.yaml"
_PACKAGE = "package"
_OWN_FILES = (MODULE_FILE, "actions.yaml", "states.yaml", "realtime.yaml", "limits.yaml", "module.py")


def module_folders(modules: str) -> tuple[list[Path], list[Finding]]:
    """Return the folders of modules, in the order given and by name within a folder, each once.

    :param modules: parts separated by ``os.pathsep``: a module (a folder with module.yaml), a folder of modules, or
        ``package:<name>`` for an installed Python package that is one of the two. A package is found, not imported.
    """
    folders: list[Path] = []
    findings: list[Finding] = []
    for part in _parts(modules):
        root = _root(part, findings)
        if root is None:
            continue
        if (root / MODULE_FILE).is_file():
            folders.append(root)
            continue
        for folder in sorted(root.iterdir()):
            if (folder / MODULE_FILE).is_file():
                folders.append(folder)
            elif folder.is_dir() and any((folder / name).exists() for name in _OWN_FILES):
                findings.append(Finding(str(folder / MODULE_FILE), 0, "missing; every module has one"))
    once: dict[Path, Path] = {}
    for folder in folders:
        once.setdefault(folder.resolve(), folder)
    return list(once.values()), findings


def packages_of(modules: str) -> dict[Path, str]:
    """Return the installed packages that the setting names as ``package:<name>``, by folder.

    One that is not installed is left out: :func:`module_folders` has a finding for it.
    """
    names = (part.partition(":")[2] for part in _parts(modules) if part.startswith(f"{_PACKAGE}:"))
    return {folder.resolve(): name for name in names for folder in _package_folders(name)}


def _parts(modules: str) -> list[str]:
    parts: list[str] = []
    for part in modules.split(os.pathsep):
        if parts and parts[-1] == _PACKAGE:  # where the path separator is a colon, it also splits `package:<name>`
            parts[-1] = f"{_PACKAGE}:{part.strip()}"
        elif part.strip():
            parts.append(part.strip())
    return parts


def _root(part: str, findings: list[Finding]) -> Path | None:
    if part.startswith(f"{_PACKAGE}:"):
        return _package_folder(part, findings)
    folder = Path(part)
    if folder.is_dir():
        return folder
    findings.append(Finding(part, 0, "is not a folder" if folder.exists() else "no such folder; `modules` names it"))
    return None


def _package_folder(part: str, findings: list[Finding]) -> Path | None:
    folders = _package_folders(part.partition(":")[2])
    if not folders:
        findings.append(Finding(part, 0, "no such package is installed; `modules` names it"))
        return None
    return folders[0]


def _package_folders(name: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(name) if name else None
    except (ImportError, ValueError):
        spec = None
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec is not None else []
