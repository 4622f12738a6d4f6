"""Which namespace stands in which database: what the settings say, held against what the databases do."""

from collections.abc import Collection, Mapping
from contextlib import suppress

from stylobate.config import ConfigError
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.errors import UnavailableError
from stylobate.ids import new_id
from stylobate.outbox.port import APART, EventLog, Numbering

from stylobate_state.settings import DATABASES, MAIN, PLACES, StateSettings
from stylobate_state.store.moving import LoadStore
from stylobate_state.store.places import PlaceStore

SOURCE = "state"
"""Of the events, and the name of the service's own log."""


Sources = Mapping[str, Collection[str]]
"""Of each projection, the namespaces of whose events it is made."""


def placed(
    settings: StateSettings, namespaces: Mapping[str, NamespaceDeclaration], sources: Sources
) -> dict[str, frozenset[str]]:
    """Return the namespaces of each further database by its name. Raises ConfigError for what cannot stand there.

    :param namespaces: all that are declared.
    """
    findings = [_finding(name, database, namespaces.get(name)) for name, database in settings.places.items()]
    findings += [_projection(name, made_of, settings.places) for name, made_of in sources.items()]
    if wrong := [finding for finding in findings if finding]:
        raise ConfigError(wrong)
    return {
        database: frozenset(name for name, where in settings.places.items() if where == database)
        for database in settings.databases
    }


def _finding(name: str, database: str, found: NamespaceDeclaration | None) -> str:
    if found is None:
        return f"{PLACES}: {name}={database}: no module declares a namespace {name}"
    if found.ttl is not None:
        return f"{PLACES}: {name}={database}: {name} is ephemeral and stands in no database"
    return ""


def logs_of_projections(sources: Sources, places: Mapping[str, str]) -> dict[str, str]:
    """Return the log that has the events of each projection, where that is not the service's own.

    :param places: of the namespaces that stand in further databases.
    """
    return {name: log_name(places[one]) for name, made_of in sources.items() for one in made_of if one in places}


def log_name(database: str) -> str:
    """Return what the log of a further database is called."""
    return f"{SOURCE}{APART}{database}"


def _projection(name: str, sources: Collection[str], places: Mapping[str, str]) -> str:
    """Refuse a projection of namespaces that stand in several databases: its place is one place of one log."""
    if len({places.get(source, MAIN) for source in sources}) <= 1:
        return ""
    one = next(source for source in sources if source in places)
    return f"{PLACES}: {one}={places[one]}: the projection {name} is made of namespaces in other databases too, of one log all"


async def check_main(main: PlaceStore, places: Mapping[str, str], namespaces: Collection[str]) -> None:
    """Raise ConfigError where a namespace is to stand in the first database, and stands elsewhere.

    One that is being moved is read here as long as that takes, also by processes that start meanwhile.
    """
    said = await main.said()
    gone = [
        f"{PLACES}: {name} stands in the database {place.elsewhere}, and is not named here"
        for name, place in said.items()
        if name in namespaces and name not in places and place.elsewhere is not None and not place.is_moving
    ]
    if gone:
        raise ConfigError(gone)


async def settle(namespace: str, database: str, main: PlaceStore, there: PlaceStore, loads: LoadStore) -> None:
    """See to it that a namespace stands in a further database and nowhere else, or is on its way from there.

    One without any object in the first database begins there. :raises ConfigError: it has some, and was not moved; or it stands
    in another one; or there are objects in the further one that are not of this platform.

    :param loads: of the further database.
    """
    entry = f"{PLACES}: {namespace}={database}"
    place, in_main = (await there.said()).get(namespace), (await main.said()).get(namespace)
    known = database if in_main is None else in_main.elsewhere or MAIN
    if place is not None and place.elsewhere is None and known != MAIN:
        await main.give(namespace, database, with_objects=True)
        return
    if place is not None and place.is_moving and known == database:
        return  # it is read here until it has gone
    where = place.elsewhere if place is not None and known == database else known
    if where == MAIN:
        cure = f"leave it out here, or run `stylobate states move {namespace} {database}` first"
        raise ConfigError([f"{entry}: it stands in the {MAIN} database; {cure}"])
    if where != database:
        raise ConfigError([f"{entry}: {namespace} stands in the database {where} ({DATABASES})"])
    if place is None and in_main is None and await loads.keys(namespace, None, 1):
        raise ConfigError([f"{entry}: {database} has objects of a namespace {namespace} that are not of this platform"])
    if not await main.give(namespace, database, with_objects=False):
        cure = f"leave it out here and run `stylobate states move {namespace} {database}` first"
        raise ConfigError([f"{entry}: its objects are in the {MAIN} database and were not moved; {cure}"])
    await there.take(namespace)


async def begin_log(log: EventLog, numbering: Numbering) -> None:
    """Have the log of a further database begin an epoch, as every new log: no position of another log fits then."""
    if not (await log.head()).epoch:
        await numbering.begin(new_id(), "a further database of the service")


async def check_own(name: str, log: EventLog, others: Mapping[str, EventLog]) -> None:
    """Raise ConfigError where a further database is another one under a second name: a move to it would leave nothing anywhere.

    :param log: of the database, with an epoch. :param others: by name. One that is away is not this one, which is there.
    """
    epoch = (await log.head()).epoch
    for other, known in others.items():
        with suppress(UnavailableError):
            if (await known.head()).epoch == epoch:
                raise ConfigError([f"{DATABASES}: {name} is the database {other}, or a copy of it"])
