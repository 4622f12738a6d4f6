"""``View``: the objects of a projection, as its method sees and changes them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from stylobate.modules.payload import decode, encode


@dataclass(frozen=True, slots=True)
class ViewObject:
    """An object of a projection."""

    version: int
    """As it stands in the store; 0: nothing does."""
    data: bytes | None
    """As JSON; None: there is none."""
    owner: str = ""


Load = Callable[[str], Awaitable[ViewObject]]


class View:
    """The objects that a projection makes, while its method deals with one event.

    What the method changes is written when it has returned, together with the note that the event was dealt with: once, whatever
    is killed when. When it raises, nothing of it is kept.
    """

    def __init__(self, load: Load, changed: dict[str, ViewObject] | None = None) -> None:
        self._load = load
        self.changed: dict[str, ViewObject] = dict(changed or {})
        """What is to be written, by key."""

    async def get(self, key: str) -> Any:
        """Return the object's data, decoded anew at each call, or None where the projection has made none."""
        data = (await self._known(key)).data
        return None if data is None else decode(data)

    async def put(self, key: str, data: Any, *, owner: str = "") -> None:
        """Make the object, or replace its data.

        :param data: whatever has a JSON form; checked by the schema of the namespace.
        :param owner: the subject in whose name it is made; one that exists keeps its owner.
        """
        known = await self._known(key)
        self.changed[key] = replace(known, data=encode(data), owner=known.owner if known.version else owner)

    async def delete(self, key: str) -> None:
        """Let there be no such object; nothing happens where there is none."""
        known = await self._known(key)
        self.changed[key] = replace(known, data=None)

    async def _known(self, key: str) -> ViewObject:
        return self.changed[key] if key in self.changed else await self._load(key)
