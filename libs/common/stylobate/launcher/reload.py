"""What `dev` watches: the project's modules, and the platform's own sources when they are edited too."""

import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from watchfiles import DefaultFilter, awatch

_GATHER_MS = 50
"""An editor saves in several steps; more would be waited for at every save."""
_SUFFIXES = (".py", ".yaml", ".yml", ".sql", ".lua")


@dataclass(frozen=True, slots=True)
class Change:
    """Files that were saved together."""

    paths: tuple[str, ...]
    """Relative to the project, sorted."""
    is_platform: bool
    """Whether one of them is the platform's own."""


class _Sources(DefaultFilter):
    """Files whose change needs a restart."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(_SUFFIXES) and "/tests/" not in path and super().__call__(change, path)  # type: ignore[arg-type]


async def changes(folder: Path, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Change]:
    """Yield each time files were saved; ends where there is nothing to watch."""
    watched = watched_folders(folder, environ)
    if not watched:
        return
    ours = tuple(f"{path.resolve()}{os.sep}" for path in _platform(folder))
    async for found in awatch(*watched, watch_filter=_Sources(), debounce=_GATHER_MS, step=_GATHER_MS):
        paths = sorted({path for _, path in found})
        names = tuple(os.path.relpath(path, folder) for path in paths)  # noqa: ASYNC240  looks at no file
        yield Change(names, is_platform=any(path.startswith(ours) for path in paths))


def watched_folders(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders to watch; links are followed, which the watcher does not do by itself."""
    roots = [path for path in (*_modules(folder, environ), *_platform(folder)) if path.is_dir()]
    linked = [inner for root in roots for inner in root.iterdir() if inner.is_symlink() and inner.is_dir()]
    return list(dict.fromkeys(path.resolve() for path in (*roots, *linked)))


def _modules(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    return [Path(part) for part in environ.get("STYLOBATE_MODULES", "").split(os.pathsep) if part] or [folder / "modules"]


def _platform(folder: Path) -> list[Path]:
    return [folder / "services", folder / "libs"]
