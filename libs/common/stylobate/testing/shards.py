"""Whether a sharded cluster would take what is asked of it: by the shard keys that the docs give, and MongoDB's rules for them.

There is no ``mongos`` to try it on. So every command that a test sends to a single server is held against what one refuses, of
MongoDB 6.0: an upsert and a findAndModify must name the whole key, a write to one document the key or its ``_id``; no write
changes a member of the key; in a transaction nothing is joined from a sharded collection.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent

_SECTION = "### By what collections are sharded"
_ROW = re.compile(r"^\| `([a-z_]+)` \| `\{(.*?)\}` \|", re.MULTILINE)
_MEMBER = re.compile(r"([a-z_.]+): ")
_SETTING = ("$set", "$unset", "$inc", "$min", "$max", "$mul", "$rename", "$currentDate")


def shard_keys(page: str) -> dict[str, list[str]]:
    """Return the members of each collection's key, from the page of the docs."""
    section = page.partition(_SECTION)[2].partition("\n## ")[0]
    return {found[1]: _MEMBER.findall(found[2]) for found in _ROW.finditer(section)}


class Shards(CommandListener):
    """Listens to what drivers send, and keeps what a sharded cluster would refuse."""

    def __init__(self, keys: Mapping[str, list[str]]) -> None:
        """Know the keys, by collection."""
        self._keys = keys
        self.refused: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Look at a command."""
        self.refused += self.refusals(event.command_name, event.command)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to look at."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to look at."""

    def refusals(self, name: str, command: Mapping[str, Any]) -> Iterator[str]:
        """Yield what would be refused of a command."""
        collection = command.get(name)
        key = self._keys.get(collection, []) if isinstance(collection, str) else []
        if name == "aggregate" and command.get("autocommit") is False:
            for joined in self._joined(command["pipeline"]):
                yield f"a transaction joins {joined}"
        if not key:
            return
        if name == "findAndModify":
            yield from _unfit(f"findAndModify of {collection}", key, command["query"], command.get("update", {}), is_whole=True)
        for one in command.get("updates", ()) if name == "update" else ():
            if one.get("upsert") or not one.get("multi"):
                yield from _unfit(f"update of {collection}", key, one["q"], one["u"], is_whole=bool(one.get("upsert")))
        for one in command.get("deletes", ()) if name == "delete" else ():
            if one.get("limit"):
                yield from _unfit(f"delete of {collection}", key, one["q"], {}, is_whole=False)

    def _joined(self, pipeline: Any) -> Iterator[str]:
        """Yield the sharded collections that a pipeline reads beside its own."""
        if isinstance(pipeline, list):
            for step in pipeline:
                yield from self._joined(step)
        elif isinstance(pipeline, Mapping):
            for name, value in pipeline.items():
                if name in {"$lookup", "$unionWith", "$graphLookup"}:
                    other = value if isinstance(value, str) else value.get("from") or value.get("coll")
                    if other in self._keys:
                        yield other
                yield from self._joined(value)


def _unfit(what: str, key: list[str], query: Mapping[str, Any], update: Any, *, is_whole: bool) -> Iterator[str]:
    named = [*_equalities(query)]
    misses = [member for member in key if not any(member == one or member.startswith(f"{one}.") for one in named)]
    if misses and (is_whole or "_id" not in named):
        yield f"{what} does not name {', '.join(misses)}: {named}"
    steps = update if isinstance(update, list) else [update]
    for step in steps:
        for operator in _SETTING:
            for changed in step.get(operator, ()):
                if any(member == changed or member.startswith(f"{changed}.") for member in key):
                    yield f"{what} changes {changed}"


def _equalities(query: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a filter says to be equal to something."""
    for name, value in query.items():
        if name == "$and":
            for one in value:
                yield from _equalities(one)
        elif not name.startswith("$") and ("$eq" in value if _is_operators(value) else True):
            yield name


def _is_operators(value: Any) -> bool:
    return isinstance(value, Mapping) and any(part.startswith("$") for part in value)
