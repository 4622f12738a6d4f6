"""What a restore has begun: said in the databases, so that one that was killed is not taken for whole, and can begin anew."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from stylobate.database import restoring
from stylobate.database.copying import drop_schemas
from stylobate.launcher.backup.manifest import Manifest
from stylobate.launcher.backup.places import Place
from stylobate.launcher.output import CommandError


class Beginning:
    """Marks databases before the first schema is made, and takes the marks away once the last one is whole.

    :param places: where schemas are put, each of which is there neither before nor when it goes wrong.
    """

    def __init__(self, manifest: Manifest, places: Sequence[Place], say: Callable[[str], None]) -> None:
        self._backup = manifest.seal
        self._of: dict[str, list[str]] = {}
        for place in places:
            self._of.setdefault(place.url, []).append(place.service)
        self._say = say

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep others out. Raises CommandError where another restore is at work."""
        async with restoring.alone(next(iter(self._of))) as is_alone:
            if not is_alone:
                raise CommandError("another `stylobate restore` is at work on these databases")
            yield

    async def is_all_there(self) -> bool:
        """Return whether one that was killed had put everything; what another has left is removed. Raises CommandError."""
        marks = {url: mark for url in self._of if (mark := await restoring.marked(url)) is not None}
        if any(mark.is_whole for mark in marks.values()):
            if any(mark.backup != self._backup for mark in marks.values()):
                raise CommandError(
                    "a restore of another backup has put everything: run it again with that one, it has little to do"
                )
            return True
        for url, mark in marks.items():
            await drop_schemas(url, mark.services)
            await restoring.unmark(url)
        if marks:
            self._say("a restore was begun here and did not come to its end; what it has left is removed")
        return False

    async def begin(self) -> None:
        """Set the marks. When it returns, nobody makes a schema who had not seen them."""
        for url, services in self._of.items():
            await restoring.mark(url, services, self._backup)
        for url, services in self._of.items():
            await restoring.settle(url, services)

    async def withdraw(self) -> None:
        """Take the marks away, where nothing was put."""
        for url in self._of:
            await restoring.unmark(url)

    async def undo(self) -> None:
        """Remove everything."""
        for url, services in self._of.items():
            await drop_schemas(url, services)
            await restoring.unmark(url)

    async def finish(self) -> None:
        """Take the marks away. From the first one on all are said to be whole: who is killed between two goes on here."""
        for url in self._of:
            if await restoring.marked(url) is not None:
                await restoring.note_whole(url)
        for url in self._of:
            await restoring.unmark(url)
