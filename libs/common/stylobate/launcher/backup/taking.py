"""Taking a backup."""

import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import msgspec

from stylobate import __version__
from stylobate.app.module_schema import MODULES
from stylobate.config import Sources
from stylobate.database.copying import Moment, SchemaContents
from stylobate.launcher.backup.files import Writer
from stylobate.launcher.backup.homes import Moments
from stylobate.launcher.backup.manifest import FORMAT, MAIN, NAME, WITH_MODULES, WITH_MONGODB, Manifest, Schema, Table
from stylobate.launcher.backup.owner_keys import OwnerKeysWriter, claimed
from stylobate.launcher.backup.places import FIRST, Place, places
from stylobate.launcher.output import CommandError

_SAY_EVERY_S = 2.0
_LONGEST = 120
_COPY, _BSON, _ENCRYPTED = ".copy.gz", ".bson.gz", ".enc"


class Backup:
    """Writes a folder; while it is not whole it has another name, and nothing takes it for a backup.

    :param key: what it is encrypted with; empty: it is not. :param say: takes lines for who waits.
    :param owner_keys: the file of the keys of owners, which is replaced.
    """

    def __init__(
        self, folder: Path, key: str, where: Sources, say: Callable[[str], None], owner_keys: Path | None = None
    ) -> None:
        self._folder, self._key, self._where, self._say = folder, key, where, say
        self._owner_keys = owner_keys
        self._partial = folder.with_name(f"{folder.name}.partial")

    async def run(self) -> None:
        """Take it. Raises CommandError, MigrationError, ConfigError, OSError."""
        if self._folder.exists():
            raise CommandError(f"{self._folder} is there already; name a new folder")
        self._clear()
        try:
            self._partial.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise CommandError(self._in_use) from None
        except OSError as error:
            raise CommandError(f"{self._partial} cannot be made: {error.strerror}") from None
        with _held(self._partial):
            try:
                with claimed(self._owner_keys):
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

    def _clear(self) -> None:
        """Remove what one that was killed has left. Raises CommandError where it is another's, or not of a backup at all."""
        if not self._partial.is_dir():
            return
        with _held(self._partial) as is_ours:
            if not is_ours:
                raise CommandError(self._in_use)
            for file in self._partial.iterdir():
                if file.name != NAME and not file.name.removesuffix(_ENCRYPTED).endswith((_COPY, _BSON)):
                    raise CommandError(f"{self._partial} has {file.name}, which is of no backup; name another folder")
            shutil.rmtree(self._partial)

    @property
    def _in_use(self) -> str:
        return f"{self._partial}: another `stylobate backup` is writing there; name another folder"

    async def _take(self) -> Manifest:
        found = places(self._where)
        async with AsyncExitStack() as moments:
            of_url: dict[str, Moment] = {}
            chosen = Moments()
            for place in found.values():  # every moment is chosen before anything is read
                if place.url not in of_url:
                    of_url[place.url] = await moments.enter_async_context(chosen.of(place))
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            taken = [await self._schema(place, of_url[place.url]) for place in found.values()]
            await self._say_what_is_left(found.values(), of_url)
        schemas = [schema for schema in taken if schema is not None]
        kind = WITH_MONGODB if any(schema.is_on_mongodb for schema in schemas) else FORMAT
        if any(schema.module for schema in schemas):
            kind = WITH_MODULES
        manifest = Manifest(kind, __version__, made_at, bool(self._key), tuple(schemas))
        return manifest.sealed(self._key)

    async def _say_what_is_left(self, found: Collection[Place], of_url: Mapping[str, Moment]) -> None:
        """Name what modules have left behind where those of the service that runs them stand."""
        for url in {place.url for place in found if place.service == FIRST}:
            known = {place.service for place in found if place.url == url}
            for name in await of_url[url].named(MODULES):
                if name not in known:
                    self._say(f"{name}: of a module that is not here (STYLOBATE_MODULES); it is not in the backup")

    async def _schema(self, place: Place, moment: Moment) -> Schema | None:
        if not await moment.enter(place.service, use_role=place.use_role):
            if place.module:  # it is new, and nothing is lost
                self._say(f"the module {place.module}: nothing yet; `stylobate db upgrade` makes its database")
                return None
            raise CommandError(f"{place.service}: there is no schema in its database; `stylobate db upgrade` makes it")
        contents = await moment.contents(place.service, is_of_module=bool(place.module))
        for name in contents.left_out:
            self._say(f"{place.service}: {name} is a time series, which is not in the backup")
        names = [name for name in contents.tables if name != place.owner_keys]
        tables = [await self._table(place, moment, contents, name) for name in names]
        keys = await self._keys(place, moment, contents) if place.owner_keys in contents.tables else 0
        made = Schema(
            place.service,
            place.database,
            contents.migrations,
            dict(contents.sequences),
            tuple(tables),
            keys or msgspec.UNSET,
            "mongodb" if place.is_on_mongodb else msgspec.UNSET,
            place.module or msgspec.UNSET,
        )
        self._say(f"{made}: {len(tables)} tables, {sum(table.rows for table in tables)} rows")
        return made

    async def _keys(self, place: Place, moment: Moment, contents: SchemaContents) -> int:
        """Replace the file of the owners' keys, and return how many there are."""
        columns = contents.tables[place.owner_keys]
        async with OwnerKeysWriter(self._owner_keys if place.database == MAIN else None, self._key, columns) as writer:
            await moment.read_lines(place.owner_keys, columns, writer.write)
            count = await writer.replace()
        if count:
            self._say(f"{self._owner_keys}: {count} keys of owners, as they are now; keep no copy of it")
        return count

    async def _table(self, place: Place, moment: Moment, contents: SchemaContents, name: str) -> Table:
        label = place.service if place.database == MAIN else f"{place.service}@{place.database}"
        ending = f"{_BSON if place.is_on_mongodb else _COPY}{_ENCRYPTED if self._key else ''}"
        path = self._partial / f"{label}.{_plain(name)}{ending}"
        writer, said_at = Writer(path, self._key), monotonic()

        async def sink(data: bytes) -> None:
            nonlocal said_at
            await writer.write(data)
            if monotonic() >= said_at + _SAY_EVERY_S:
                said_at = monotonic()
                self._say(f"{label}.{name}: {_size(writer.written)} written")

        rows = await moment.read(name, contents.tables[name], sink)
        validator, made = (known.get(name, msgspec.UNSET) for known in (contents.validators, contents.made))
        return Table(name, contents.tables[name], rows, path.name, writer.close(), validator, made)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Say whether no other process holds the folder, which is held for as long as the block, or the process, lives."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = True
        except BlockingIOError:
            is_ours = False
        yield is_ours
    finally:
        os.close(descriptor)


def _plain(name: str) -> str:
    """Return the name of a table as a part of a file's: a module may have taken any."""
    quoted = quote(name, safe="")
    return quoted if len(quoted) <= _LONGEST else sha256(name.encode()).hexdigest()


def _size(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB"
