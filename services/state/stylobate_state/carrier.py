"""Carrying a namespace, with all that was ever written of it, from one database to another, of whatever kinds they are."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stylobate.errors import ValueRefusedError

from stylobate_state.errors import StateMoveRefusedError
from stylobate_state.index import Index
from stylobate_state.model import StateKey
from stylobate_state.store.moving import Arrival, LoadStore
from stylobate_state.store.places import Place, PlaceStore
from stylobate_state.store.port import StateStore
from stylobate_state.store.projections import ProjectionStore

_EVENTS = 500
_ENTERED = 500
_CLEARED = 1000
_ANSWERS = 1000


@dataclass(frozen=True, slots=True)
class Home:
    """One database of the service, as moves see it."""

    name: str
    places: PlaceStore
    store: StateStore
    loads: LoadStore
    projections: ProjectionStore


@dataclass(frozen=True, slots=True)
class Carried:
    """What one step carried."""

    objects: int
    """Tombstones among them."""
    versions: int
    place: StateKey | None
    """Where the next step begins; None: that was all."""


class Carrier:
    """Carries namespaces from one database to another. Any step may be made again, by several at once, and changes nothing then.

    A step of a move that was given up, or that another one took the place of, raises StateMoveRefusedError, or StateMovedError.
    Any method raises DatabaseUnavailableError: some of the step may have happened.

    :param new_id: makes ids of moves.
    """

    def __init__(self, here: Home, there: Home, new_id: Callable[[], str]) -> None:
        self._here = here
        self._there = there
        self._new_id = new_id

    async def begin(self, namespace: str) -> None:
        """Let nobody write the namespace here any more, whatever setting they have; who wrote it before is committed then.

        :raises StateMoveRefusedError: there are objects of it there that no move brought. They are somebody else's: to make room
            would be to take them away.
        """
        if namespace not in await self._there.places.said() and await self._there.loads.keys(namespace, None, 1):
            said = f"{self._there.name} has objects of a namespace {namespace} already, which no move brought"
            raise StateMoveRefusedError(namespace, f"{said}; look whose database that is, nothing was changed there")
        if await self._there.places.expect(namespace, self._here.name):
            await self._here.places.give(namespace, self._there.name, with_objects=True, move=self._new_id())

    async def make_room(self, namespace: str) -> bool:
        """Take away there what a stay of before has left of objects; return whether there is more, or something to wait for."""
        return await self._there.loads.clear(await self._arrival(namespace), _CLEARED)

    async def carry(self, namespace: str, after: StateKey | None, most: int) -> Carried:
        """Carry some objects with their versions, their events and their timers. An object that is there is there with all of it.

        Their events get numbers in the log there, in the order of their versions.
        """
        arrival = await self._arrival(namespace)
        keys = await self._here.loads.keys(namespace, after, most)
        if not keys:
            return Carried(0, 0, None)
        present = await self._there.loads.versions(keys)
        found = await self._here.store.read(keys)
        objects = [found[key] for key in keys if found[key].version != present.get(key)]
        versions = 0
        if objects:
            projection = await self._here.loads.projection(namespace)
            try:
                versions = await self._tell(arrival, [one.key for one in objects])
                await self._there.loads.put(arrival, objects, 0 if projection is None else projection.generation)
            except ValueRefusedError as error:
                said = f"{self._there.name} cannot keep one of the objects from {keys[0].key} to {keys[-1].key}: {error.detail}"
                raise StateMoveRefusedError(namespace, said) from error
        await self._here.loads.end_timers(keys)
        return Carried(len(objects), versions, keys[-1])

    async def _tell(self, arrival: Arrival, keys: Sequence[StateKey]) -> int:
        count, place = 0, ("", 0)
        while told := await self._here.loads.told(keys, place, _EVENTS):
            count += await self._there.loads.put_told(arrival, told)
            place = told[-1].event.subject, told[-1].version
        return count

    async def enter(self, indexes: Sequence[Index]) -> bool:
        """Enter some of what was carried into the indexes there, and say whether there is more to do."""
        await self._there.store.declare(indexes)
        return await self._there.store.build(_ENTERED)

    async def finish(self, namespace: str) -> None:
        """Carry what goes with the whole, and note that it stands there: from then on it does, whatever ends this process.

        That is the place of a projection, and the answers that were given to calls with an idempotency key.
        """
        arrival = await self._arrival(namespace)
        projection = await self._here.loads.projection(namespace)
        await self._there.loads.put_projection(namespace, projection)
        if projection is not None and projection.is_rebuilding:
            await self._there.projections.rebuild(namespace)
        place = ("", "", "", "")
        while answers := await self._here.loads.answers(place, _ANSWERS):
            await self._there.loads.put_answers(answers)
            place = answers[-1].place
        if not await self._there.places.take(namespace, arrival.move):
            raise _given_up(namespace)
        await self._here.places.give(namespace, self._there.name, with_objects=True)

    async def give_up(self, namespace: str, after: StateKey | None, most: int) -> StateKey | None:
        """Take a move back: let the namespace be written here again. Returns where to go on; None: that is done.

        :raises StateMoveRefusedError: it stands there already.
        """
        if not await self._there.places.refuse(namespace):
            raise StateMoveRefusedError(namespace, f"it stands in {self._there.name} already")
        if keys := await self._here.loads.keys(namespace, after, most):
            await self._here.loads.begin_timers(list((await self._here.store.read(keys)).values()))
            return keys[-1]
        await self._here.places.take(namespace)
        return None

    async def _arrival(self, namespace: str) -> Arrival:
        """Return the move that is under way."""
        place = (await self._here.places.said()).get(namespace, Place(None))
        if not place.is_moving or place.elsewhere != self._there.name:
            raise _given_up(namespace)
        return Arrival(namespace, place.move)


def _given_up(namespace: str) -> StateMoveRefusedError:
    return StateMoveRefusedError(namespace, "the move was taken back meanwhile, or another one was begun")
