"""The loader: folders of modules in, declarations and every finding out."""

import hashlib
from dataclasses import replace
from pathlib import Path

from stylobate.declarations import limits_file
from stylobate.declarations.actions_file import read_actions, read_schemas
from stylobate.declarations.context import ModuleContext
from stylobate.declarations.crosscheck import ModuleDraft, check_names, in_dependency_order
from stylobate.declarations.document import Node, parse_document
from stylobate.declarations.limits_file import read_limits
from stylobate.declarations.model import Declarations, Finding, ModuleDeclaration, Severity
from stylobate.declarations.module_file import read_module_file, settings_schema
from stylobate.declarations.realtime_file import read_channels
from stylobate.declarations.report import ModuleReport
from stylobate.declarations.section import did_you_mean
from stylobate.declarations.sources import MODULE_FILE, module_folders
from stylobate.declarations.states_file import read_states

_FILES = ("module.yaml", "actions.yaml", "states.yaml", "realtime.yaml", "limits.yaml")
_LATER = ("external.yaml", "hooks.yaml")
_INTRODUCES = {"module.yaml": "permissions", "states.yaml": "namespaces"}
_YAML = (".yaml", ".yml")


def load_declarations(modules: str) -> Declarations:
    """Read every module and return what they declare, with all findings at once. Reads files only; runs no code of a module.

    :param modules: folders separated by ``os.pathsep``, each a module or a folder of modules, or ``package:<name>``.
    """
    folders, findings = module_folders(modules)
    digest = hashlib.sha256()
    drafts = [_draft(folder, digest) for folder in folders]
    check_names(drafts)
    ordered = in_dependency_order(drafts)
    left_out: dict[str, tuple[Finding, ...]] = {
        Path(finding.file).parent.name: (finding,) for finding in findings if Path(finding.file).name == MODULE_FILE
    }
    names = {draft.name for draft in ordered}
    broken = [draft for draft in drafts if draft.report.has_errors]
    for draft in broken:
        name = str(draft.declaration.folder) if draft.name in names or draft.name in left_out else draft.name
        left_out[name] = tuple(finding for finding in draft.report.findings if finding.severity is Severity.ERROR)
    for draft in drafts:
        findings += sorted(draft.report.findings, key=_place)
    return Declarations(
        tuple(draft.declaration for draft in ordered),
        tuple(findings),
        digest.hexdigest(),
        broken=tuple(draft.declaration for draft in broken),
        left_out=left_out,
    )


def _place(finding: Finding) -> tuple[bool, int, str, int]:
    """Sort causes before what follows from them, then by file as modules are read, and line."""
    known = [index for index, name in enumerate(_FILES) if Path(finding.file).name == name]
    return (finding.follows, known[0] if known else len(_FILES), finding.file, finding.line)


def _draft(folder: Path, digest: "hashlib._Hash") -> ModuleDraft:
    report = ModuleReport(folder)
    _check_files(report)
    documents = {name: _document(name, report, digest) for name in _FILES if (folder / name).exists()}
    unreadable = [name for name, document in documents.items() if document is None]
    report.doubtful |= {_INTRODUCES[name] for name in unreadable if name in _INTRODUCES}
    content = read_module_file(documents["module.yaml"] or Node({"name": Node(folder.name, 0)}, 0, {"name": 0}), report)
    name = content.name or folder.name
    absent = Node({}, 0)
    actions, states, channels, limits = (documents.get(file, absent) for file in _FILES[1:])
    module = ModuleContext(name, read_schemas(actions, name, report), report)
    namespaces, projections = read_states(states, module) if states else ((), ())
    declaration = ModuleDeclaration(
        name=name,
        folder=folder,
        version=content.version,
        description=content.description,
        dependencies=content.dependencies,
        settings_schema=settings_schema(content, module),
        settings_line=content.settings.line if content.settings is not None else 0,
        secrets=content.secrets,
        database=content.database,
        database_line=content.database_line,
        permissions=content.permissions,
        roles=content.roles,
        actions=read_actions(actions, module) if actions else (),
        namespaces=namespaces,
        projections=projections,
        channels=read_channels(channels, module) if channels else (),
        limits=read_limits(limits, report.of(limits_file.FILE), name) if limits else (),
    )
    return ModuleDraft(replace(declaration, doubtful=frozenset(report.doubtful)), report)


def _check_files(report: ModuleReport) -> None:
    for path in sorted(report.folder.iterdir()):
        file = report.of(path.name)
        if path.name in _LATER:
            file.error(0, f"{path.name} is not supported yet")
        elif path.suffix in _YAML and path.name not in _FILES:
            file.error(0, f"not a file that modules have{did_you_mean(path.name, (*_FILES, *_LATER))}")


def _document(name: str, report: ModuleReport, digest: "hashlib._Hash") -> Node | None:
    """Return the file's content, None with a finding where it cannot be read; its bytes enter the digest."""
    path = report.folder / name
    file = report.of(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        file.error(0, f"cannot be read: {error.strerror}")
        return None
    for part in (report.folder.name.encode(), name.encode(), content):
        digest.update(len(part).to_bytes(8, "big") + part)
    return parse_document(content, file)
