"""``database`` in module.yaml and the files in ``migrations``: what a module keeps data of its own in."""

import re
from pathlib import Path

from stylobate.declarations.report import ModuleReport
from stylobate.declarations.section import Section, did_you_mean

MIGRATIONS = "migrations"
FOLDERS = {"postgresql": (MIGRATIONS, ".sql"), "mongodb": (f"{MIGRATIONS}/mongodb", ".json")}
"""Where the migrations of each kind of database are, and how their names end."""
_KEY = "database"
_FILE = re.compile(r"[0-9]{4}_[a-z0-9_]+")
_LONGEST = 34
"""Of a module's name: its schema is called ``module_<name>``, and names of schemas and databases have an end."""


def read_database(section: Section, module: str, report: ModuleReport) -> str:
    """Return the kind of database that the module asks for; empty: none. What does not fit it is a finding."""
    folder = report.folder / MIGRATIONS
    kind = section.text(_KEY)
    if kind and kind not in FOLDERS:
        section.error(_KEY, f"`{_KEY}`: `{kind}` is neither `postgresql` nor `mongodb`{did_you_mean(kind, FOLDERS)}")
        return ""
    if not kind:
        if folder.exists() and not section.is_misspelt(_KEY):
            said = f"nothing says for which database: `{_KEY}: postgresql` or `{_KEY}: mongodb` in module.yaml"
            report.of(MIGRATIONS).error(0, said)
        return ""
    if len(module) > _LONGEST:
        section.error(_KEY, f"`{_KEY}`: the name of a module that has one is at most {_LONGEST} characters long")
    _check_files(kind, folder, report)
    return kind


def _check_files(kind: str, folder: Path, report: ModuleReport) -> None:
    """Note files that nothing would apply."""
    if not folder.exists():
        return
    where, ending = FOLDERS[kind]
    numbers: dict[str, str] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file() and not one.name.startswith(".")):
        name = path.relative_to(report.folder).as_posix()
        if path.parent != report.folder / where or path.suffix != ending:
            report.of(name).error(0, f"is not applied: migrations for `{_KEY}: {kind}` are {where}/0001_what_it_does{ending}")
        elif _FILE.fullmatch(path.stem) is None:
            report.of(name).error(0, f"is not named like 0001_what_it_does{ending}")
        elif (other := numbers.setdefault(path.stem[:4], path.name)) != path.name:
            report.of(name).error(0, f"has the number of {other}")
