"""Taking a backup."""

import shutil
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from stylobate import __version__
from stylobate.config import Sources
from stylobate.database.copying import SchemaContents, Snapshot, snapshot
from stylobate.launcher.backup.files import Writer
from stylobate.launcher.backup.manifest import FORMAT, MAIN, Manifest, Schema, Table
from stylobate.launcher.backup.places import Place, places
from stylobate.launcher.output import CommandError

_SAY_EVERY_S = 2.0


class Backup:
    """Writes a folder; while it is not whole it has another name, and nothing takes it for a backup.

    :param key: what it is encrypted with; empty: it is not. :param say: takes lines for who waits.
    """

    def __init__(self, folder: Path, key: str, where: Sources, say: Callable[[str], None]) -> None:
        self._folder, self._key, self._where, self._say = folder, key, where, say
        self._partial = folder.with_name(f"{folder.name}.partial")

    async def run(self) -> None:
        """Take it. Raises CommandError, MigrationError, ConfigError, OSError."""
        if self._folder.exists():
            raise CommandError(f"{self._folder} is there already; name a new folder")
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(mode=0o700, parents=True)
        try:
            manifest = await self._take()
            manifest.write(self._partial)
            self._partial.rename(self._folder)
        except BaseException:
            shutil.rmtree(self._partial, ignore_errors=True)
            raise
        rows = sum(table.rows for schema in manifest.schemas for table in schema.tables)
        size = sum(file.stat().st_size for file in self._folder.iterdir())
        how = "encrypted" if self._key else "not encrypted: set STYLOBATE_BACKUP_KEY"
        self._say(f"{self._folder}: {rows} rows of {manifest.made_at}, {_size(size)}, {how}")

    async def _take(self) -> Manifest:
        found = places(self._where)
        async with AsyncExitStack() as moments:
            of_url: dict[str, Snapshot] = {}
            for place in found.values():  # every moment is chosen before anything is read
                if place.url not in of_url:
                    of_url[place.url] = await moments.enter_async_context(snapshot(place.url))
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            schemas = [await self._schema(place, of_url[place.url]) for place in found.values()]
        manifest = Manifest(FORMAT, __version__, made_at, bool(self._key), tuple(schemas))
        return manifest.sealed(self._key)

    async def _schema(self, place: Place, moment: Snapshot) -> Schema:
        if not await moment.enter(place.service, use_role=place.use_role):
            raise CommandError(f"{place.service}: there is no schema in its database; `stylobate db upgrade` makes it")
        contents = await moment.contents(place.service)
        tables = [await self._table(place, moment, contents, name) for name in contents.tables]
        made = Schema(place.service, place.database, contents.migrations, dict(contents.sequences), tuple(tables))
        self._say(f"{made}: {len(tables)} tables, {sum(table.rows for table in tables)} rows")
        return made

    async def _table(self, place: Place, moment: Snapshot, contents: SchemaContents, name: str) -> Table:
        label = place.service if place.database == MAIN else f"{place.service}@{place.database}"
        path = self._partial / f"{label}.{name}.copy.gz{'.enc' if self._key else ''}"
        writer, said_at = Writer(path, self._key), monotonic()

        async def sink(data: bytes) -> None:
            nonlocal said_at
            await writer.write(data)
            if monotonic() >= said_at + _SAY_EVERY_S:
                said_at = monotonic()
                self._say(f"{label}.{name}: {_size(writer.written)} written")

        rows = await moment.read(name, contents.tables[name], sink)
        return Table(name, contents.tables[name], rows, path.name, writer.close())


def _size(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB"
