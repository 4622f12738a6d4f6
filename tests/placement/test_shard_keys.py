"""By what collections of MongoDB are sharded, as the docs say, against what migrations make."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from stylobate.testing.shards import Shards, shard_keys

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "concepts" / "storage.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("### By what collections are sharded")[2].partition("\n## ")[0]
COLLECTION = re.compile(r"`([a-z_]+)`")
KEY = re.compile(r"([a-z_.]+): ")


def commands() -> list[dict[str, Any]]:
    """Return what all migrations of services say."""
    files = sorted((ROOT / "libs/common/stylobate").glob("*/migrations/mongodb/*.json"))
    files += sorted((ROOT / "services").glob("*/stylobate_*/store/migrations/mongodb/*.json"))
    return [command for file in files for command in json.loads(file.read_text(encoding="utf-8"))]


def rows() -> dict[str, tuple[list[str], str]]:
    """Return the members of each collection's key, and which unique indexes are to give way."""
    found = {}
    for line in SECTION.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 3 and COLLECTION.fullmatch(cells[0]):
            found[cells[0].strip("`")] = (KEY.findall(cells[1]), cells[2])
    return found


def test_every_collection_has_a_key_or_stays_whole() -> None:
    """A collection that a migration makes stands in the table or in the list below it, and nothing else does."""
    made = {command["create"] for command in commands() if "create" in command} | {"signal"}
    whole = set(COLLECTION.findall(SECTION.partition("All else is small")[2]))
    assert set(rows()) | whole == made
    assert not set(rows()) & whole


def test_no_key_breaks_what_is_unique() -> None:
    """Each unique index begins with the key of its collection, whose members are not hashed then, or is said to give way."""
    for command in commands():
        members, giving_way = rows().get(command.get("createIndexes", ""), ([], ""))
        for index in command.get("indexes", ()) if members else ():
            if index.get("unique") and f"`{index['name']}`" not in giving_way:
                assert list(index["key"])[: len(members)] == members, (command["createIndexes"], index["name"])


SENT: list[tuple[str, dict[str, Any], str]] = [
    ("update", {"update": "audit_pack", "updates": [{"q": {"_id": 1}, "u": {}}]}, ""),
    ("update", {"update": "audit_pack", "updates": [{"q": {"block": 1}, "u": {}, "multi": True}]}, ""),
    ("update", {"update": "audit_pack", "updates": [{"q": {"tenant": "a", "last": {"$gt": 1}}, "u": {}}]}, "not name last"),
    ("update", {"update": "audit_pack", "updates": [{"q": {"_id": 1}, "u": {}, "upsert": True}]}, "not name tenant, last"),
    ("update", {"update": "audit_pack", "updates": [{"q": {"_id": 1}, "u": [{"$set": {"last": 1}}]}]}, "changes last"),
    ("update", {"update": "lease", "updates": [{"q": {}, "u": {}, "upsert": True}]}, ""),
    ("findAndModify", {"findAndModify": "session", "query": {"token": 1}}, "not name _id"),
    ("findAndModify", {"findAndModify": "session", "query": {"$and": [{"_id": {"$eq": 1}}]}}, ""),
    ("delete", {"delete": "ban", "deletes": [{"q": {"tenant": "a"}, "limit": 1}]}, "not name level, subject"),
    ("delete", {"delete": "ban", "deletes": [{"q": {"tenant": "a"}, "limit": 0}]}, ""),
    ("aggregate", {"aggregate": "lease", "pipeline": [{"$lookup": {"from": "ban"}}], "autocommit": False}, "joins ban"),
    ("aggregate", {"aggregate": "lease", "pipeline": [{"$lookup": {"from": "ban"}}]}, ""),
]


@pytest.mark.parametrize(("name", "command", "said"), SENT)
def test_what_a_cluster_refuses_is_known(name: str, command: dict[str, Any], said: str) -> None:
    """Every test that sends something to a MongoDB is held against these rules (conftest.py)."""
    found = [*Shards(shard_keys(PAGE)).refusals(name, command)]
    assert len(found) == bool(said)
    assert all(said in one for one in found)


def test_the_keys_are_those_of_the_table() -> None:
    """So none is passed over by the rules."""
    assert shard_keys(PAGE) == {name: key for name, (key, _) in rows().items()}
