"""Moving a namespace to a database of its own, step by step, for operators."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stylobate.paging import no_token, page_position, page_token

from stylobate_state.errors import StateEphemeralError, StateMovedError, StateMoveRefusedError, StateNamespaceUnknownError
from stylobate_state.index import Index
from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.settings import DATABASES, MAIN, PLACES
from stylobate_state.store.moving import Carrier
from stylobate_state.store.places import PlaceStore

_AT_ONCE = 20
"""Objects in one step: each goes with its whole history."""
_CARRYING, _ENTERING = "objects", "indexes"


@dataclass(frozen=True, slots=True)
class MoveStep:
    """What one step came to."""

    objects: int
    versions: int
    next_place: str
    """Empty: it is over, and the namespace stands there."""


@dataclass(frozen=True, slots=True)
class Target:
    """A database to move to."""

    places: PlaceStore
    carrier: Carrier


class StateMover:
    """Moves what stands in the first database, with all that was ever written of it.

    From the first step on nobody can write the namespace, until processes run whose settings name its place. Reads go on. A move
    that was interrupted goes on when it is begun again.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        *,
        indexes: Sequence[Index],
        places: Mapping[str, str],
        main: PlaceStore,
        targets: Mapping[str, Target],
        ephemeral: Collection[str] = (),
    ) -> None:
        """Keep the parts.

        :param namespaces: those that are declared. :param places: what the settings say. :param targets: by name.
        """
        self._namespaces = namespaces
        self._indexes = indexes
        self._places = places
        self._main = main
        self._targets = targets
        self._ephemeral = ephemeral

    async def step(self, name: str, database: str, place: str) -> MoveStep:
        """Move some of it.

        :param place: as returned by the step before; empty: begin, or go on with what was begun.
        :raises StateNamespaceUnknownError: nothing declares it. :raises StateEphemeralError: it stands in no database.
        :raises StateMoveRefusedError: it stands elsewhere, or there is no such database.
        :raises InvalidInputError: a place that was not returned.
        """
        about = ("moving", name, database)
        phase, _, behind = page_position(about, place).partition("\n")
        target = await self._target(name, database)
        if not phase:
            await target.carrier.begin(name)
            phase = _CARRYING
        if phase == _CARRYING:
            tenant, mark, key = behind.partition("\n")
            carried = await target.carrier.carry(name, StateKey(tenant, name, key) if mark else None, _AT_ONCE)
            following = _ENTERING if carried.place is None else f"{_CARRYING}\n{carried.place.tenant}\n{carried.place.key}"
            return MoveStep(carried.objects, carried.versions, page_token(about, following))
        if phase != _ENTERING:
            raise no_token()
        if await target.carrier.enter([index for index in self._indexes if index.namespace == name]):
            return MoveStep(0, 0, place)
        await target.carrier.finish(name)
        return MoveStep(0, 0, "")

    async def check_here(self, name: str) -> None:
        """Raise StateMovedError for a namespace that stands elsewhere by now, or is being moved, unknown to these settings."""
        if name not in self._places and name in await self._main.elsewhere():
            raise StateMovedError(name)

    async def _target(self, name: str, database: str) -> Target:
        """Return where it goes; what is refused is refused in each step."""
        if name not in self._namespaces:
            raise StateNamespaceUnknownError(name)
        if name in self._ephemeral:
            raise StateEphemeralError(name, "database")
        if name in self._places:
            raise StateMoveRefusedError(name, f"it stands in {self._places[name]}, says {PLACES}, and not in {MAIN}")
        target = self._targets.get(database)
        if target is None:
            known = ", ".join(self._targets) or "none"
            raise StateMoveRefusedError(name, f"{DATABASES} names no {database} (known: {known})")
        elsewhere = (await self._main.elsewhere()).get(name, database)
        if elsewhere != database:
            raise StateMoveRefusedError(name, f"it stands in {elsewhere}, or is being moved there")
        if await target.places.has(name):
            raise StateMoveRefusedError(name, f"it stands in {database} already; say so in {PLACES}")
        return target
