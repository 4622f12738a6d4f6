"""What a MongoDB says to a setting that is wrong: no waiting cures it, so who starts is told, in one line."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from pymongo import AsyncMongoClient
from pymongo.errors import ConfigurationError, ConnectionFailure, OperationFailure, PyMongoError, ServerSelectionTimeoutError
from pymongo.uri_parser import parse_uri

from stylobate.config import ConfigError
from stylobate.database.address import hosts
from stylobate.database.mongodb.faults import NOT_US
from stylobate.logs import get_logger

_WIRE_6 = 17
"""What MongoDB 6.0 says of itself in its greeting."""
_LOOK_MS = 1000
_MAY_NOT = 13
_log = get_logger("app")
_NO_TLS, _NOT_TRUSTED = "SSL handshake failed", "CERTIFICATE_VERIFY_FAILED"


@contextmanager
def refusals(setting: str, url: str) -> Iterator[None]:
    """Raise ConfigError, which names the setting, for an error of connecting to the URL that stays; others pass through."""
    try:
        yield
    except (PyMongoError, OSError, ValueError) as error:
        said = " ".join(_refusal(error).split())
        if not said:
            raise
        raise ConfigError([f"{setting}: database {hosts(url)}: {said}"]) from error


def _refusal(error: BaseException) -> str:
    match error:
        case OperationFailure() if error.code in NOT_US:
            return f"it does not let us in: {(error.details or {}).get('errmsg', error)}"
        case OperationFailure() if error.code == _MAY_NOT:
            return may_not(error)
        case ConfigurationError():
            return str(error)
        case ServerSelectionTimeoutError() if _NOT_TRUSTED in str(error):
            return f"its certificate is not trusted: {_said_of(error, _NOT_TRUSTED)}"
        case ServerSelectionTimeoutError() if _NO_TLS in str(error):
            return f"no TLS connection: {_said_of(error, _NO_TLS)}"
        case _:
            return ""


def is_about_rights(error: OperationFailure) -> bool:
    """Return whether the user may not do what was asked."""
    return error.code == _MAY_NOT


def may_not(error: OperationFailure) -> str:
    """Return what the user may not do, without the values of the command."""
    said = str((error.details or {}).get("errmsg", error)).partition(" {")[0]
    if said.endswith("requires authentication"):
        return f"the server lets nobody in without a user and password, which belong in the URL: {said}"
    return f"the user needs readWrite and dbAdmin there: {said}"


def _said_of(error: BaseException, what: str) -> str:
    """Return what the driver said behind these words, of the first server."""
    said = str(error).partition(what)[2].split(",")[0]
    return said.partition(" (configured")[0].partition(" (_ssl")[0].strip("]: ")


def check_greeting(setting: str, url: str, hello: Mapping[str, Any]) -> None:
    """Raise ConfigError for a server that the platform cannot run on, by its answer to ``hello``."""
    said, wanted = "", parse_uri(url)["options"].get("replicaSet")
    if hello.get("maxWireVersion", 0) < _WIRE_6:
        said = "the server is older than MongoDB 6.0"
    elif hello.get("isreplicaset"):
        said = "its replica set was not begun: run rs.initiate() once (one member is enough)"
    elif is_sharded(hello):
        said = "a mongos, before a sharded cluster: it has no replica set, so the URL must not say replicaSet=" if wanted else ""
    elif not hello.get("setName"):
        said = (
            "a standalone server, which has no transactions: start it with --replSet rs0 and run rs.initiate() once "
            "(one member is enough)"
        )
    elif wanted and hello.get("setName") not in (None, wanted):
        said = f"its replica set is named {hello['setName']}, and the URL says replicaSet={wanted}"
    if said:
        raise ConfigError([f"{setting}: database {hosts(url)}: {said}"])


def is_sharded(hello: Mapping[str, Any]) -> bool:
    """Return whether a mongos answered."""
    return hello.get("msg") == "isdbgrid"


@cache
def tell_sharded(where: str) -> None:
    """Say once that nobody has tried this."""
    keys = "docs/concepts/storage.md says by what to shard, and what to leave whole"
    _log.warning("database_is_sharded", database=where, untested="the platform was never run on a sharded cluster", see=keys)


async def greet(client: AsyncMongoClient[Any], setting: str, url: str) -> None:
    """Make sure that the platform can run on what a client leads to.

    Raises ConfigError for what no waiting cures, ConnectionFailure in one line for a server that is not there.
    """
    try:
        with refusals(setting, url):
            check_greeting(setting, url, await client.admin.command("hello"))
    except ServerSelectionTimeoutError as error:
        await look(setting, url)
        raise ConnectionFailure(in_short(error)) from error


def in_short(error: BaseException) -> str:
    """Return what went wrong in one line: the driver tells all that it knows of every server, behind it."""
    return " ".join(str(error).partition(" (configured")[0].partition(", Timeout:")[0].split())


async def look(setting: str, url: str) -> None:
    """Ask each server of the URL by itself why no primary was found. Raises ConfigError for what no waiting cures."""
    options: dict[str, Any] = {"directConnection": True, "serverSelectionTimeoutMS": _LOOK_MS, "connectTimeoutMS": _LOOK_MS}
    parsed = parse_uri(url)
    if parsed["options"].get("directConnection"):
        return
    given = {name: value for name, value in parsed["options"].items() if name.startswith(("tls", "ssl"))}
    for host, port in parsed["nodelist"]:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(host, port, **options, **given)
        try:
            hello = await client.admin.command("hello")
        except (PyMongoError, OSError):
            continue
        finally:
            await client.close()
        if len(parsed["nodelist"]) > 1 and hello.get("isreplicaset"):
            continue  # a member that has just been started says so as well, before it has found the others
        check_greeting(setting, url, hello)
