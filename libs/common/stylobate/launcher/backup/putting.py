"""Putting a backup into empty databases."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from pathlib import Path
from time import monotonic

import msgspec

from stylobate.config import Sources
from stylobate.database.schema import migrator_of
from stylobate.ids import new_id
from stylobate.launcher.backup import manifest as saying
from stylobate.launcher.backup.beginning import Beginning
from stylobate.launcher.backup.files import DamagedError, content
from stylobate.launcher.backup.homes import into, is_free
from stylobate.launcher.backup.manifest import Schema, Table
from stylobate.launcher.backup.owner_keys import OwnerKeys
from stylobate.launcher.backup.places import Place, places
from stylobate.launcher.output import CommandError
from stylobate.launcher.project import services_here
from stylobate.launcher.schemas import storage_at

_SAY_EVERY_S = 2.0


class Restore:
    """Puts a backup where no schema of the platform is, all of it or nothing.

    :param key: what it was encrypted with; empty: nothing. :param say: takes lines for who waits.
    :param owner_keys: the file of the keys of owners, where there are any.
    :param without_modules: whose data stay in the backup.
    :raises CommandError: the folder holds no backup, or the manifest was altered.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        say: Callable[[str], None],
        owner_keys: Path | None = None,
        without_modules: Collection[str] = (),
    ) -> None:
        self._folder, self._key, self._say = folder, key, say
        self._owner_keys = owner_keys
        self._manifest = saying.read(folder, key)
        self._schemas = [schema for schema in self._manifest.schemas if schema.module not in without_modules]
        for name in without_modules:
            if name not in {schema.module for schema in self._manifest.schemas}:
                raise CommandError(f"--without-module {name}: the backup has no data of such a module")

    def is_on_mongodb(self, environ: Mapping[str, str]) -> bool:
        """Whether the services for which no database of their own is set were on MongoDB."""
        return any(
            schema.is_on_mongodb
            for schema in self._manifest.schemas
            if schema.database == saying.MAIN
            and not schema.module
            and not environ.get(f"STYLOBATE_{schema.service.upper()}_DATABASE_URL")
        )

    def check(self) -> None:
        """Make sure that it is whole, and of a release that is known here. Raises CommandError."""
        sets = {name: spec.migrations for name, spec in services_here().items() if spec.migrations}
        saying.check_release(self._manifest, sets)
        saying.check_files(self._folder, self._manifest)

    async def run(self, where: Sources) -> None:
        """Put it. Raises CommandError, MigrationError, ConfigError."""
        manifest, found = self._manifest, places(where)
        self._check_places(found)
        keys = await self._read_keys()
        begun = Beginning(manifest, [found[schema.service, schema.database] for schema in self._schemas], self._say)
        async with begun.alone():
            if await begun.is_all_there():
                await begun.finish()
            else:
                await self._check_empty(found)
                self._say(f"{self._folder}: whole, of {manifest.made_at}, made by release {manifest.release}")
                await begun.begin()
                try:
                    await self._check_empty(found)  # somebody may have made a schema before the marks stood
                except BaseException:
                    await begun.withdraw()
                    raise
                try:
                    for schema in self._schemas:
                        await self._put(schema, found[schema.service, schema.database], keys)
                except BaseException:
                    await begun.undo()
                    raise
                await begun.finish()
        self._say("restored; start the services")

    async def _read_keys(self) -> OwnerKeys | None:
        """Return the keys of owners; None: the backup needs none. Raises CommandError."""
        wanted = max((schema.owner_keys or 0 for schema in self._manifest.schemas), default=0)
        if not wanted:
            return None
        if self._owner_keys is None:
            raise CommandError(f"the backup needs {wanted} keys of owners: name their file with --owner-keys FILE")
        keys = await OwnerKeys.read(self._owner_keys, self._key)
        if len(keys.ids) < wanted:
            raise CommandError(
                f"{self._owner_keys} is older than the backup: it has {len(keys.ids)} keys where there were {wanted}"
            )
        return keys

    def _check_places(self, found: dict[tuple[str, str], Place]) -> None:
        for schema in self._schemas:
            if (schema.service, schema.database) not in found:
                if schema.module:
                    kind = "MongoDB" if schema.is_on_mongodb else "PostgreSQL"
                    raise CommandError(
                        f"the backup has data of {schema} in {kind}, and no module of that name here (STYLOBATE_MODULES) has any "
                        f"there: put its files there, or leave its data out with --without-module {schema.module}"
                    )
                setting = f"STYLOBATE_{schema.service.upper()}_DATABASES"
                raise CommandError(f"{setting}: {schema.database} is missing; the backup has that database of {schema.service}")
            if schema.is_on_mongodb != found[schema.service, schema.database].is_on_mongodb:
                was, is_ = ("MongoDB", "PostgreSQL") if schema.is_on_mongodb else ("PostgreSQL", "MongoDB")
                raise CommandError(
                    f"the backup has {schema} in {was}, and the settings name {is_} for it: it goes back into {was} only"
                )
            if schema.module:
                saying.check_module(schema, found[schema.service, schema.database].sets)

    async def _check_empty(self, found: dict[tuple[str, str], Place]) -> None:
        for schema in self._schemas:
            place = found[schema.service, schema.database]
            if not await is_free(place):
                raise CommandError(
                    f"the database of {schema} has the schema {place.service} already; a backup is put into an empty database "
                    "(on the laptop: another folder, or after `stylobate reset`)"
                )

    async def _put(self, schema: Schema, place: Place, keys: OwnerKeys | None) -> None:
        encrypted = self._manifest.encrypted
        migrator = migrator_of(place.url, place.service, place.sets, use_role=place.use_role, is_restore=True)
        await migrator.upgrade(schema.upto)
        async with into(place, is_new=True) as filled:
            for table in schema.tables:
                if schema.module and not await filled.make(table.name, table.made or ""):
                    self._say(f"{schema}: no migration makes {table.name}: its {table.rows} rows stay in {table.file}")
                    continue
                try:
                    rows = await filled.put(table.name, table.columns, self._content(table, encrypted=encrypted))
                except DamagedError as error:
                    raise CommandError(f"{self._folder}: {error}") from None
                if rows != table.rows:
                    raise CommandError(f"{self._folder}: {table.file} has {rows} rows where there were {table.rows}")
            await filled.continue_sequences(schema.sequences)
            await filled.hold_to({table.name: table.validator for table in schema.tables if table.validator is not msgspec.UNSET})
        newer = await migrator.upgrade()
        if keys is not None and schema.owner_keys:
            async with into(place, is_new=False) as filled:  # they may be of a later release
                await filled.put_lines(place.owner_keys, keys.columns, keys.rows())
        self._say(
            f"{schema}: {sum(table.rows for table in schema.tables)} rows" + (f", then {', '.join(newer)}" if newer else "")
        )
        if place.keeps_events:
            await self._begin_epoch(schema, place)

    async def _content(self, table: Table, *, encrypted: bool) -> AsyncIterator[bytes]:
        said_at, size = monotonic(), 0
        async for data in content(self._folder / table.file, self._key if encrypted else ""):
            yield data
            size += len(data)
            if monotonic() >= said_at + _SAY_EVERY_S:
                said_at = monotonic()
                self._say(f"{table.file}: {size / 1e6:.1f} MB read")

    async def _begin_epoch(self, schema: Schema, place: Place) -> None:
        """Begin an epoch of the log: its numbers may be given a second time, to other events."""
        async with storage_at(place.url, place.service, use_role=place.use_role) as storage:
            epoch = new_id()
            await storage.numbering(place.service).begin(epoch, "restored from a backup")
        self._say(f"{schema}: epoch {epoch} has begun")
