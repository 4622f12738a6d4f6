"""Writes docs/reference/errors.md, settings.md and the gateway's list of reasons from the classes; --check compares them."""

import ast
import importlib
import inspect
import json
import pkgutil
import sys
from itertools import pairwise
from pathlib import Path

import orjson
import stylobate
from stylobate.app import HostSettings
from stylobate.config import Settings
from stylobate.declarations.editor import FOLDER, editor_schemas
from stylobate.errors import StylobateError, http_status_of
from stylobate.services import installed_services

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
REASONS = ROOT / "services" / "gateway" / "stylobate_gateway" / "reasons.json"


def import_everything() -> None:
    """Import every module of the platform, so that every error class is known."""
    packages = [stylobate, *(importlib.import_module(f"stylobate_{name}") for name in installed_services())]
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.startswith(("stylobate.api", "stylobate.testing")) and not found.name.endswith("__main__"):
                importlib.import_module(found.name)


def errors() -> str:
    """Return the page of all errors, by reason."""
    rows = []
    for reason, kind in sorted(StylobateError.registry.items()):
        meaning = " ".join((kind.__doc__ or "").split()).replace("|", "\\|")
        rows.append(f"| `{reason}` | {http_status_of(reason, kind.code)} | {kind.code.name} | {meaning} | {kind.cure} |")
    return "\n".join(
        [
            "# Errors",
            "",
            "Every error has a stable reason: `code` in problem+json (RFC 9457), `reason` in `google.rpc.ErrorInfo`. Match on",
            "it, never on the sentence. Written by `make generate` from the classes.",
            "",
            "| reason | HTTP | gRPC | meaning | what to do |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def reasons() -> str:
    """Return what the gateway says of every reason, whichever process its class lives in."""
    found = {
        reason: {
            "status": http_status_of(reason, kind.code),
            "area": _area(kind.__module__),
            "meaning": kind.__dict__.get("default_detail")
            or (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " "),
            "cure": kind.cure,
        }
        for reason, kind in StylobateError.registry.items()
    }
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _area(module: str) -> str:
    """Return whose reason it is: a service's name, also for its client's, ``actions`` for what modules raise, else ``common``."""
    package, _, rest = module.partition(".")
    if package != "stylobate":
        return package.removeprefix("stylobate_")
    part, _, further = rest.partition(".")
    if part == "clients" and further in installed_services():
        return further
    return "actions" if part == "modules" else part if part in {"outbox", "hooks"} else "common"


def settings() -> str:
    """Return the page of all settings, shared ones first."""
    parts = [
        "# Settings",
        "",
        "A setting is looked for in mounted files (`/run/secrets/<service>_<field>` and so on), then in Vault, then in the",
        "environment, then the default holds. `stylobate config explain` shows what holds and where it came from. Written by",
        "`make generate`",
        "from the classes.",
        "",
    ]
    kinds: dict[str, type[Settings]] = {"Every process": HostSettings}
    kinds |= {f"The {name} service": spec.settings for name, spec in sorted(installed_services().items())}
    for title, kind in kinds.items():
        parts += [f"## {title}", "", "| variable | default | meaning |", "|---|---|---|"]
        described = _descriptions(kind)
        for name, field in kind.model_fields.items():
            if kind is HostSettings or name not in Settings.model_fields:
                variable = f"STYLOBATE_{kind.service}_{name}" if kind.service else f"STYLOBATE_{name}"
                parts.append(f"| `{variable.upper()}` | {_shown(field.default)} | {described.get(name, '')} |")
        parts.append("")
    return "\n".join(parts)


def _shown(default: object) -> str:
    return f"`{default}`" if str(default) and default != {} else ""


def _descriptions(kind: type[Settings]) -> dict[str, str]:
    """Return the sentence below each field, which Python itself throws away."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, Settings):
            continue
        (body,) = ast.parse(inspect.getsource(base)).body
        statements = body.body if isinstance(body, ast.ClassDef) else []
        for before, after in pairwise(statements):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def schema_files() -> dict[Path, str]:
    """Return the schemas that editors find beside the modules of this repository, as `stylobate init` writes them."""
    folder = ROOT / "modules" / FOLDER
    return {
        folder / name.replace(".yaml", ".json"): orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        for name, schema in editor_schemas().items()
    }


def module_page() -> str:
    """Return the page of what module code uses."""
    page: str = importlib.import_module("module_reference").page()
    return page


def house_page() -> str:
    """Return CONTRIBUTING.md with the drawing of the house."""
    page: str = importlib.import_module("house_drawing").page()
    return page


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    import_everything()
    pages = {
        REFERENCE / "errors.md": errors(),
        REFERENCE / "settings.md": settings(),
        REASONS: reasons(),
        REFERENCE / "modules.md": module_page(),
        ROOT / "CONTRIBUTING.md": house_page(),
    } | schema_files()
    if "--check" in sys.argv:
        stale = [path for path, page in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != page]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the code says: make generate")
        return 1 if stale else 0
    for path, page in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
