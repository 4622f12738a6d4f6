"""A module's settings: values from the environment or the schema's defaults, checked against the schema.

Setting ``page_size`` of module ``shop`` is ``STYLOBATE_MODULE_SHOP_PAGE_SIZE``.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from stylobate.config import MASK, Resolved
from stylobate.declarations.compiled import CompiledSchema
from stylobate.declarations.model import Finding, ModuleDeclaration
from stylobate.modules.errors import ModuleLoadError


def variable_of(module: str, key: str) -> str:
    """Return the environment variable of a setting."""
    return re.sub(r"[^A-Z0-9]", "_", f"STYLOBATE_MODULE_{module}_{key}".upper())


def resolve_settings(declaration: ModuleDeclaration, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the module's settings. Raises ModuleLoadError with every finding, each naming the variable to set."""
    schema = declaration.settings_schema
    if schema is None:
        return {}
    values: dict[str, Any] = {}
    findings: list[str] = []
    for key, part in schema.get("properties", {}).items():
        variable = variable_of(declaration.name, key)
        if variable in environ:
            try:
                values[key] = _parsed(environ[variable], part)
            except ValueError as error:
                findings.append(f"{variable}: {error}")
        elif isinstance(part, Mapping) and "default" in part:
            values[key] = part["default"]
    if not findings:
        for violation in CompiledSchema(schema).violations(values):
            key = violation.pointer.split("/")[1] if violation.pointer else ""
            findings.append(f"{variable_of(declaration.name, key) if key else 'settings'}: {violation.detail}")
    if findings:
        file = str(declaration.folder / "module.yaml")
        raise ModuleLoadError(declaration.name, [Finding(file, declaration.settings_line, finding) for finding in findings])
    return values


def explained(declaration: ModuleDeclaration, environ: Mapping[str, str]) -> list[Resolved]:
    """Return each setting of the module as text, and where it comes from; one that is ``writeOnly`` is masked."""
    found: list[Resolved] = []
    for key, part in (declaration.settings_schema or {}).get("properties", {}).items():
        schema = part if isinstance(part, Mapping) else {}
        variable = variable_of(declaration.name, key)
        value = environ.get(variable, str(schema.get("default", "")))
        found.append(
            Resolved(
                key,
                MASK if schema.get("writeOnly") and value else value,
                f"environment {variable}" if variable in environ else "default",
            )
        )
    return found


def _parsed(text: str, schema: Any) -> Any:
    """Read the text as the schema's type: texts as they are, anything else as JSON (so ``false`` is false, ``"x"`` no number)."""
    kinds = schema.get("type", "string") if isinstance(schema, Mapping) else "string"
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "string" in kinds:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError(f"is read as JSON ({' or '.join(kinds)}) and cannot be parsed") from None
