"""What `dev` watches: the project's modules, and the platform's own sources when they are edited too."""

from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import DefaultFilter, awatch

_SUFFIXES = (".py", ".yaml", ".yml", ".sql", ".lua")


class _Sources(DefaultFilter):
    """Files whose change needs a restart."""

    def __call__(self, change: object, path: str) -> bool:
        return path.endswith(_SUFFIXES) and "/tests/" not in path and super().__call__(change, path)  # type: ignore[arg-type]


async def changes(folder: Path) -> AsyncIterator[list[str]]:
    """Yield the changed files (relative, sorted) each time some were saved."""
    watched = [folder / name for name in ("modules", "services", "libs") if (folder / name).is_dir()]
    async for found in awatch(*watched, watch_filter=_Sources(), debounce=200):
        yield sorted({str(Path(path).relative_to(folder)) for _, path in found})
