"""The events of changes in MongoDB: documents of the outbox, with what the history is found by."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from bson import Int64
from stylobate.database.mongodb import Document, MongoTransaction
from stylobate.outbox import Event
from stylobate.outbox.mongodb import event_document

from stylobate_state.model import Change, StateKey
from stylobate_state.store.mongodb.documents import EVENT, OBJECT_BYTES

SOURCE = "state"


async def write_events(transaction: MongoTransaction, events: Sequence[tuple[Event, str, int]]) -> None:
    """Write events of many objects in one step, each with its namespace and the version that it made."""
    sizes = [OBJECT_BYTES + len(event.data) + len(event.aside) for event, _, _ in events]
    await transaction.write_each(EVENT, "insert", [_document(*one) for one in events], sizes)


def mark(key: StateKey, type_: str, actor: str = "") -> Int64:
    """Return a hash of the names. What is found by it is compared with them."""
    names = "\0".join((*key, actor, type_)).encode()
    return Int64(int.from_bytes(blake2b(names, digest_size=8).digest(), "big", signed=True))


def type_of(namespace: str, change: Change) -> str:
    """Return the type of the events of a change."""
    return f"state.{namespace}.{change}"


def at(key: StateKey) -> dict[str, Any]:
    """Return the condition on the events of an object."""
    return {"tenant": key.tenant, "stream": key.namespace, "subject": key.key}


def told_document(event: Event, namespace: str, version: int) -> Document:
    """Return the document of an event that waits for nothing: without a number yet."""
    found = _document(event, namespace, version)
    del found["waiting"]
    return found


def _document(event: Event, namespace: str, version: int) -> Document:
    key = StateKey(event.tenant, namespace, event.subject)
    marks = {"type": mark(key, event.type), "actor": mark(key, event.type, event.actor)}
    return event_document(event, source=SOURCE, stream=namespace, version=version) | {"marks": marks}
