"""Namespaces that are kept for a time only: ``durability`` and ``ttl`` in states.yaml."""

from datetime import timedelta
from functools import partial

from stylobate.declarations.effects import DO
from stylobate.declarations.rules import parse_duration
from stylobate.declarations.section import Section, did_you_mean

DURABLE, EPHEMERAL = "durable", "ephemeral"
KEPT = ("schema", "initial", "access", "transitions", "before", "fields", "encrypted_fields", "durability", "ttl")
"""The keys that an ephemeral namespace may have. All others need what is kept in the database, history and events."""
LONGEST = timedelta(days=30)
_parse = partial(parse_duration, longest=LONGEST)


def read_ttl(namespace: Section) -> timedelta | None:
    """Return how long an object is kept after its last change; None: for good. What is wrong stands in the report."""
    durability = namespace.text("durability", DURABLE)
    ttl = namespace.parsed("ttl", _parse, unit="s")
    if durability not in {DURABLE, EPHEMERAL}:
        hint = did_you_mean(durability, (DURABLE, EPHEMERAL))
        namespace.error("durability", f"`durability` must be {DURABLE} or {EPHEMERAL}{hint}")
        return None
    if durability == DURABLE:
        if "ttl" in namespace and not namespace.is_misspelt("durability"):
            namespace.error("ttl", f"`ttl` is for `durability: {EPHEMERAL}`; a durable object stays until it is deleted")
        return None
    if "ttl" not in namespace and not namespace.is_misspelt("ttl"):
        namespace.error("durability", "`ttl` is missing: how long an object is kept after its last change, such as `30m`")
    for key in namespace:
        if key in namespace.known and key not in KEPT:
            namespace.error(key, f"an ephemeral namespace cannot have `{key}`: it has no history, no events and no indexes")
    for event, _, node in namespace.entries("transitions"):
        if isinstance(node.value, dict) and DO in node.value:
            where = f"transition {event} of {namespace.where}"
            line = node.key_lines.get(DO, node.line)
            namespace.report.error(line, f"an ephemeral namespace cannot have `{DO}`: it has no events ({where})")
    return ttl
