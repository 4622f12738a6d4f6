"""Writes docs/reference/errors.md and settings.md from the classes; with --check says whether they are up to date."""

import ast
import importlib
import inspect
import pkgutil
import sys
from itertools import pairwise
from pathlib import Path

import stylobate
from stylobate.app import HostSettings, installed_services
from stylobate.config import Settings
from stylobate.errors import StylobateError, http_status_of

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"


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


def settings() -> str:
    """Return the page of all settings, shared ones first."""
    parts = [
        "# Settings",
        "",
        "A setting is looked for in mounted files (`/run/secrets/<service>_<field>` and so on), then in the environment, then",
        "the default holds. `stylobate config explain` shows what holds and where it came from. Written by `make generate`",
        "from the classes.",
        "",
    ]
    kinds: dict[str, type[Settings]] = {"Every process": HostSettings}
    kinds |= {f"The {name} service": spec.settings for name, spec in installed_services().items()}
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
    return f"`{default}`" if str(default) else ""


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


def main() -> int:
    """Write the pages, or compare them; return the exit code."""
    import_everything()
    pages = {"errors.md": errors(), "settings.md": settings()}
    if "--check" in sys.argv:
        stale = [
            name for name, page in pages.items() if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != page
        ]
        for name in stale:
            print(f"docs/reference/{name} is not what the code says: make generate")
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, page in pages.items():
        (REFERENCE / name).write_text(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
