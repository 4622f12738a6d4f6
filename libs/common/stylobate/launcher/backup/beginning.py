"""What a restore has begun: said in the databases, so that one that was killed is not taken for whole, and can begin anew."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from stylobate.launcher.backup.homes import homes
from stylobate.launcher.backup.manifest import Manifest
from stylobate.launcher.backup.places import Place
from stylobate.launcher.output import CommandError


class Beginning:
    """Marks databases before the first schema is made, and takes the marks away once the last one is whole.

    :param places: where schemas are put, each of which is there neither before nor when it goes wrong.
    """

    def __init__(self, manifest: Manifest, places: Sequence[Place], say: Callable[[str], None]) -> None:
        self._backup = manifest.seal
        self._homes = homes(places)
        self._say = say

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep others out. Raises CommandError where another restore is at work."""
        async with self._homes[0].alone() as is_alone:
            if not is_alone:
                raise CommandError("another `stylobate restore` is at work on these databases")
            yield

    async def is_all_there(self) -> bool:
        """Return whether one that was killed had put everything; what another has left is removed. Raises CommandError."""
        marks = [(home, mark) for home in self._homes if (mark := await home.marked()) is not None]
        if any(mark.is_whole for _, mark in marks):
            if any(mark.backup != self._backup for _, mark in marks):
                raise CommandError(
                    "a restore of another backup has put everything: run it again with that one, it has little to do"
                )
            return True
        for home, _ in marks:
            await home.clear()
            await home.unmark()
        if marks:
            self._say("a restore was begun here and did not come to its end; what it has left is removed")
        return False

    async def begin(self) -> None:
        """Set the marks. When it returns, nobody makes a schema who had not seen them."""
        for home in self._homes:
            await home.mark(self._backup)
        for home in self._homes:
            await home.settle()

    async def withdraw(self) -> None:
        """Take the marks away, where nothing was put."""
        for home in self._homes:
            await home.unmark()

    async def undo(self) -> None:
        """Remove everything."""
        for home in self._homes:
            await home.clear()
            await home.unmark()

    async def finish(self) -> None:
        """Take the marks away. From the first one on all are said to be whole: who is killed between two goes on here."""
        for home in self._homes:
            if await home.marked() is not None:
                await home.note_whole()
        for home in self._homes:
            await home.unmark()
