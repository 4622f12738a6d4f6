"""The record of what a module's namespaces were like: a file beside states.yaml, committed with it, that changes are held to."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from stylobate.declarations.model import Finding, ModuleDeclaration, NamespaceDeclaration, Severity
from stylobate.declarations.narrowing import narrowings

FILE = "states.lock.json"
_CURE = (
    "raise `schema_version` and let `upgrade` make such data; or say that no stored object is concerned: modules check --record"
)


class _Recorded(msgspec.Struct, forbid_unknown_fields=True):
    """A namespace as it was."""

    schema_version: int
    schema: dict[str, Any] | None
    statuses: list[str]


_decode = msgspec.json.Decoder(dict[str, _Recorded]).decode


def record(module: ModuleDeclaration) -> Path | None:
    """Write down what the module's namespaces are like now, and return where; None where it has none and never had."""
    file = module.folder / FILE
    if not module.namespaces and not file.exists():
        return None
    namespaces = {
        one.name: {"schema_version": one.schema_version, "schema": one.schema, "statuses": sorted(one.statuses)}
        for one in module.namespaces
        if one.ttl is None  # of those that are ephemeral nothing stays that could break
    }
    file.write_text(json.dumps(namespaces, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return file


def check_recorded(module: ModuleDeclaration) -> list[Finding]:
    """Return what of the module's namespaces stored objects may not fit any more; nothing where nothing was recorded."""
    file = module.folder / FILE
    try:
        recorded: Mapping[str, _Recorded] = _decode(file.read_bytes())
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        return [Finding(str(file), 0, f"cannot be read: {error}; `stylobate modules check --record` writes it anew")]
    declared = {namespace.name: namespace for namespace in module.namespaces}
    findings: list[Finding] = []
    for name, before in recorded.items():
        if name in declared:
            findings += _changes(before, declared[name])
        else:
            text = f"the namespace {name} is recorded here and declared no more: nobody reaches its objects"
            findings.append(Finding(str(file), 0, text, Severity.WARNING))
    return findings


def _changes(before: _Recorded, now: NamespaceDeclaration) -> Iterator[Finding]:
    about = f"namespace {now.name}"
    if now.schema_version < before.schema_version:
        text = f"`schema_version` went back from {before.schema_version} to {now.schema_version} ({about})"
        yield Finding(now.file, now.line, text)
    elif now.schema_version == before.schema_version:
        for found in narrowings(before.schema, now.schema):
            text = f"stored objects may break: `{found.pointer or '/'}` {found.problem} ({about}); {_CURE}"
            yield Finding(now.file, now.line, text, Severity.ERROR if found.is_certain else Severity.WARNING)
    for status in before.statuses:
        if status not in now.statuses:
            text = f"stored objects may be stranded: `{status}` is not a status any more ({about}); keep an event that leaves it"
            yield Finding(now.file, now.line, text)
    if now.statuses and not before.statuses:
        text = f"objects that are stored already have no status, so no event leads anywhere for them ({about})"
        yield Finding(now.file, now.line, text, Severity.WARNING)
