"""Moving a namespace from one database of the service to another, step by step, for operators."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from stylobate.errors import UnavailableError
from stylobate.paging import no_token, page_position, page_token

from stylobate_state.carrier import Carrier, Home
from stylobate_state.errors import StateEphemeralError, StateMovedError, StateMoveRefusedError, StateNamespaceUnknownError
from stylobate_state.index import Index
from stylobate_state.model import StateKey
from stylobate_state.namespace import Namespace
from stylobate_state.settings import DATABASES, MAIN, PLACES
from stylobate_state.store.moving import Arrival
from stylobate_state.store.places import Place

_AT_ONCE = 20
"""Objects in one step: each goes with its whole history."""
_BACK_AT_ONCE, _CLEARED_AT_ONCE = 500, 1000


class _Phase(StrEnum):
    """What a step of a move, of taking one back, or of clearing does; it stands in the place where the next one begins."""

    ROOM = "room"
    CARRYING = "objects"
    ENTERING = "indexes"
    BACK = "back"
    TOLD = "told"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class MoveStep:
    """What one step came to."""

    objects: int
    versions: int
    next_place: str
    """Empty: it is over, and the namespace stands there."""
    is_taken_back: bool = False
    """Whether it is over because it was taken back: the namespace is written where it stood."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a namespace stands."""

    namespace: str
    database: str
    moving_to: str = ""
    """Where it is on its way to; empty: nowhere."""
    left_in: Sequence[str] = ()
    """Where a move has left objects of it."""


@dataclass(frozen=True, slots=True)
class Standings:
    """Where the namespaces stand that stand in databases."""

    found: Sequence[Standing]
    """By name."""
    away: Sequence[str]
    """Databases that do not answer."""


class StateMover:
    """Moves a namespace, with all that was ever written of it, between the databases that the settings name.

    From the first step on nobody can write the namespace, until processes run whose settings name its place, or the move is taken
    back. Reads go on. A move that was interrupted goes on when it is begun again.
    """

    def __init__(
        self,
        namespaces: Mapping[str, Namespace],
        *,
        indexes: Sequence[Index],
        places: Mapping[str, str],
        homes: Mapping[str, Home],
        new_id: Callable[[], str],
        ephemeral: Collection[str] = (),
    ) -> None:
        """Keep the parts.

        :param namespaces: those that are declared. :param places: what the settings say. :param homes: all, by name.
        """
        self._namespaces = namespaces
        self._indexes = indexes
        self._places = places
        self._homes = homes
        self._new_id = new_id
        self._ephemeral = ephemeral

    async def step(self, name: str, database: str, place: str) -> MoveStep:
        """Move some of it; or, where it is on its way and is to stay where it is, take some of that back.

        :param place: as returned by the step before; empty: begin, or go on with what was begun.
        :raises StateNamespaceUnknownError: nothing declares it. :raises StateEphemeralError: it stands in no database.
        :raises StateMoveRefusedError: it stands elsewhere, or there is no such database.
        :raises InvalidInputError: a place that was not returned.
        """
        about = ("moving", name, database)
        phase, _, behind = page_position(about, place).partition("\n")
        here, there = await self._ends(name, database)
        carrier = Carrier(here, there, self._new_id)
        if database == here.name:
            further = await carrier.give_up(name, _key(name, behind), _BACK_AT_ONCE)
            following = "" if further is None else page_token(about, _said(_Phase.BACK, further))
            return MoveStep(0, 0, following, is_taken_back=True)
        if not phase:
            if await self._stands(there, name):  # what ended the last step came after that
                await self._settle(name, here, there)
                return MoveStep(0, 0, "")
            await carrier.begin(name)
            phase = _Phase.ROOM
        match phase:
            case _Phase.ROOM:
                following = _Phase.ROOM if await carrier.make_room(name) else _Phase.CARRYING
                return MoveStep(0, 0, page_token(about, following))
            case _Phase.CARRYING:
                carried = await carrier.carry(name, _key(name, behind), _AT_ONCE)
                following = _Phase.ENTERING if carried.place is None else _said(_Phase.CARRYING, carried.place)
                return MoveStep(carried.objects, carried.versions, page_token(about, following))
            case _Phase.ENTERING:
                if await carrier.enter([index for index in self._indexes if index.namespace == name]):
                    return MoveStep(0, 0, place)
                await carrier.finish(name)
                await self._settle(name, here, there)
                return MoveStep(0, 0, "")
        raise no_token()

    async def clear(self, name: str, database: str, place: str) -> str:
        """Take away some of what a move has left of a namespace in a database; return where to go on, empty: it is done.

        Of the events stays what happened to which key, with their numbers. Raises as :meth:`step`.
        """
        about = ("clearing", name, database)
        phase, _, behind = page_position(about, place).partition("\n")
        left, stands = self._home(name, database), self._home(name, self._places.get(name, MAIN))
        if left is stands or not await self._stands(stands, name):
            raise StateMoveRefusedError(name, f"it does not stand in another database than {database}, as far as {PLACES} says")
        said = (await left.places.said()).get(name)
        if said is None:
            return ""
        if said.is_moving and said.elsewhere == stands.name:
            await left.places.give(name, stands.name, with_objects=True)
        if phase in ("", _Phase.TOLD):
            tenant, subject, version = behind.split("\n") if behind else ("", "", "0")
            further = await left.loads.forget(name, (tenant, subject, int(version)), _CLEARED_AT_ONCE)
            following = _Phase.LEFT if further is None else "\n".join([_Phase.TOLD, *map(str, further)])
            return page_token(about, following)
        if phase != _Phase.LEFT:
            raise no_token()
        return place if await left.loads.clear(Arrival(name, ""), _CLEARED_AT_ONCE) else ""

    async def standings(self) -> Standings:
        """Return where each namespace stands, as far as the databases answer."""
        said: dict[str, Mapping[str, Place]] = {}
        for home in self._homes.values():
            try:
                said[home.name] = await home.places.said()
            except UnavailableError:
                continue
        found = [await self._standing(name, said) for name in sorted(self._namespaces) if name not in self._ephemeral]
        return Standings(found, [name for name in self._homes if name not in said])

    async def _standing(self, name: str, said: Mapping[str, Mapping[str, Place]]) -> Standing:
        here = self._places.get(name, MAIN)
        found = said.get(here, {}).get(name, Place(None))
        if found.elsewhere in said and not found.is_moving:  # it has gone, and the settings do not say so yet
            here, found = found.elsewhere or MAIN, Place(None)
        gone = [
            other for other, places in said.items() if other != here and name in places and places[name].elsewhere is not None
        ]
        left = [other for other in gone if await self._homes[other].loads.keys(name, None, 1)]
        moving = (found.elsewhere if found.is_moving else None) or ""
        return Standing(name, here, moving, [other for other in left if other != moving])

    async def check_here(self, names: Collection[str]) -> None:
        """Raise StateMovedError for a namespace that is being moved, or stands elsewhere than these settings say."""
        for database in {self._places.get(name, MAIN) for name in names}:
            said = await self._homes[database].places.said()
            for name in names:
                if self._places.get(name, MAIN) == database and said.get(name, Place(None)).elsewhere is not None:
                    raise StateMovedError(name)

    async def _ends(self, name: str, database: str) -> tuple[Home, Home]:
        """Return where it stands and where it goes, or went; what is refused is refused in each step."""
        here, there = self._home(name, self._places.get(name, MAIN)), self._home(name, database)
        place = (await here.places.said()).get(name)
        if here is there:
            if place is not None and place.is_moving:
                return here, self._home(name, place.elsewhere or "")
            elsewhere = (
                "" if place is None or place.elsewhere is None else f"; it was moved to {place.elsewhere}: say so in {PLACES}"
            )
            raise StateMoveRefusedError(name, f"that is where it stands, as far as {PLACES} says{elsewhere}")
        if place is None and here.name != MAIN:
            raise StateMoveRefusedError(name, f"{here.name} does not have it")
        if place is None or place.elsewhere is None:
            if await self._stands(there, name) and there.name != MAIN:
                raise StateMoveRefusedError(name, f"it stands in {database} already; say so in {PLACES}")
        elif place.elsewhere == database and not place.is_moving:
            raise StateMoveRefusedError(name, f"it stands in {database} already; say so in {PLACES}")
        elif place.elsewhere != database:
            back = f"; `stylobate states move {name} {here.name}` takes that back" if place.is_moving else ""
            raise StateMoveRefusedError(
                name, f"it {'is on its way to' if place.is_moving else 'stands in'} {place.elsewhere}{back}"
            )
        return here, there

    def _home(self, name: str, database: str) -> Home:
        if name not in self._namespaces:
            raise StateNamespaceUnknownError(name)
        if name in self._ephemeral:
            raise StateEphemeralError(name, "database")
        if database not in self._homes:
            raise StateMoveRefusedError(name, f"{DATABASES} names no {database} (known: {', '.join(self._homes)})")
        return self._homes[database]

    async def _stands(self, home: Home, name: str) -> bool:
        place = (await home.places.said()).get(name)
        return home.name == MAIN if place is None else place.elsewhere is None

    async def _settle(self, name: str, here: Home, there: Home) -> None:
        """Have every database know that it stands there."""
        await there.places.take(name)
        await here.places.give(name, there.name, with_objects=True)
        if MAIN not in {here.name, there.name}:
            await self._homes[MAIN].places.give(name, there.name, with_objects=True)


def _said(phase: str, key: StateKey) -> str:
    return f"{phase}\n{key.tenant}\n{key.key}"


def _key(name: str, said: str) -> StateKey | None:
    tenant, mark, key = said.partition("\n")
    return StateKey(tenant, name, key) if mark else None
