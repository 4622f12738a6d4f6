"""By what collections of MongoDB are sharded, as the docs say, against what migrations make."""

import json
import re
from pathlib import Path
from typing import Any

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
