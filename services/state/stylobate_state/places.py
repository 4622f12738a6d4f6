"""Which namespace stands in which database: what the settings say, held against what the databases do."""

from collections.abc import Collection, Mapping

from stylobate.config import ConfigError
from stylobate.declarations.model import NamespaceDeclaration
from stylobate.outbox.port import APART

from stylobate_state.settings import DATABASES, MAIN, PLACES, StateSettings
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


def logs_of_projections(sources: Sources, apart: Collection[str]) -> dict[str, str]:
    """Return the log that has the events of each projection, where that is not the service's own.

    :param apart: the namespaces that stand in further databases.
    """
    return {name: log_name(one) for name, made_of in sources.items() for one in made_of if one in apart}


def log_name(namespace: str) -> str:
    """Return what the log of a namespace that stands apart is called."""
    return f"{SOURCE}{APART}{namespace}"


def _projection(name: str, sources: Collection[str], places: Mapping[str, str]) -> str:
    """Refuse a projection of several namespaces where one stands apart: its place is one place of one log."""
    apart = [source for source in sources if source in places]
    if not apart or len(sources) == 1:
        return ""
    return f"{PLACES}: {apart[0]}={places[apart[0]]}: the projection {name} is made of other namespaces too, of one log all"


async def check_main(main: PlaceStore, places: Mapping[str, str], namespaces: Collection[str]) -> None:
    """Raise ConfigError where a namespace is to stand in the first database, and stands elsewhere.

    One that is being moved is read here as long as that takes, also by processes that start meanwhile.
    """
    elsewhere, moving = await main.elsewhere(), await main.moving()
    gone = [name for name in elsewhere if name in namespaces and name not in places and name not in moving]
    if gone:
        raise ConfigError([f"{PLACES}: {name} stands in the database {elsewhere[name]}, and is not named here" for name in gone])


async def settle(namespace: str, database: str, main: PlaceStore, there: PlaceStore) -> None:
    """See to it that a namespace stands in a further database and nowhere else.

    One without any object in the first database begins there. :raises ConfigError: it has some, and was not moved; or it stands
    in another one.
    """
    if await there.has(namespace):
        await main.give(namespace, database, with_objects=True)
        return
    entry = f"{PLACES}: {namespace}={database}"
    known = (await main.elsewhere()).get(namespace, database)
    if known != database:
        raise ConfigError([f"{entry}: {namespace} stands in the database {known} ({DATABASES})"])
    if not await main.give(namespace, database, with_objects=False):
        cure = f"leave it out here and run `stylobate states move {namespace} {database}` first"
        raise ConfigError([f"{entry}: its objects are in the {MAIN} database and were not moved; {cure}"])
    await there.take(namespace)
