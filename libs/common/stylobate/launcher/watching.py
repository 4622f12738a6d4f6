"""What `dev` watches: the project's modules, and the platform's own sources when they are edited too."""

import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from watchfiles import DefaultFilter, awatch

_SUFFIXES = (".py", ".yaml", ".yml", ".sql", ".lua")


class _Sources(DefaultFilter):
    """Files whose change needs a restart."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(_SUFFIXES) and "/tests/" not in path and super().__call__(change, path)  # type: ignore[arg-type]


async def changes(folder: Path, environ: Mapping[str, str] = os.environ) -> AsyncIterator[list[str]]:
    """Yield the changed files (relative, sorted) each time some were saved; ends where there is nothing to watch."""
    watched = watched_folders(folder, environ)
    if not watched:
        return
    async for found in awatch(*watched, watch_filter=_Sources(), debounce=200):
        yield sorted({os.path.relpath(path, folder) for _, path in found})  # noqa: ASYNC240  looks at no file


def watched_folders(folder: Path, environ: Mapping[str, str]) -> list[Path]:
    """Return the folders to watch; links are followed, which the watcher does not do by itself."""
    modules = [Path(part) for part in environ.get("STYLOBATE_MODULES", "").split(os.pathsep) if part] or [folder / "modules"]
    roots = [path for path in (*modules, folder / "services", folder / "libs") if path.is_dir()]
    linked = [inner for root in roots for inner in root.iterdir() if inner.is_symlink() and inner.is_dir()]
    return list(dict.fromkeys(path.resolve() for path in (*roots, *linked)))
