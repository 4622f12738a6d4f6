"""What the tests share: a namespace to work in, callers, writes."""

from dataclasses import replace

from stylobate.declarations.model import (
    AccessRule,
    JsonSchema,
    NamespaceAccess,
    NamespaceDeclaration,
    TransitionDeclaration,
)
from stylobate.identity import ANONYMOUS, Principal, PrincipalKind
from stylobate.ids import new_id
from stylobate_state.model import Change, StateKey, Write

__all__ = ["ADA", "ANONYMOUS", "BOB", "HANDLER", "ORDERS", "deletion", "fields", "write"]

ADA = Principal(kind=PrincipalKind.USER, id="ada")
BOB = Principal(kind=PrincipalKind.USER, id="bob")
HANDLER = ADA.with_via("actions")
"""Ada, through a handler."""

OPEN = AccessRule(("authenticated",))


def fields(*names: str) -> JsonSchema:
    """Return what an event carries, as the loader makes it of a list of fields."""
    return {"type": "object", "properties": dict.fromkeys(names, True), "additionalProperties": False}


ORDERS = NamespaceDeclaration(
    name="orders",
    module="shop",
    schema={
        "type": "object",
        "properties": {"total": {"type": "integer", "minimum": 1}},
        "required": ["total"],
    },
    initial="pending",
    statuses=("cancelled", "paid", "pending", "shipped"),
    access=NamespaceAccess(
        read=AccessRule(("orders:read", "owner")),
        list=AccessRule(("orders:read", "owner")),
        create=AccessRule(("actions",)),
        write=AccessRule(("actions",)),
        delete=AccessRule(("orders:admin",)),
    ),
    transitions={
        "pay": TransitionDeclaration("pay", ("pending",), "paid", AccessRule(("owner",)), fields("paid_by", "by", "items")),
        "ship": TransitionDeclaration("ship", ("paid",), "shipped", AccessRule(("orders:ship",))),
        "cancel": TransitionDeclaration("cancel", ("pending", "paid"), "cancelled", AccessRule(("owner", "orders:admin"))),
        "amend": TransitionDeclaration("amend", ("pending",), "pending"),
    },
)
"""The shop's namespace, with an event that has no access of its own."""

NOTES = NamespaceDeclaration(
    name="notes", module="notes", access=NamespaceAccess(read=OPEN, list=OPEN, create=OPEN, write=OPEN, delete=OPEN)
)
"""No schema, no machine, open to whoever is known."""


def write(key: StateKey, expected: int | None, data: bytes = b"{}", **changes: object) -> Write:
    """Return a write: a creation when nothing may be there, else an update."""
    change = Change.CREATED if expected == 0 else Change.UPDATED
    status = "new" if expected == 0 else None
    plain = Write(
        key=key, change=change, expected=expected, owner="ada", status=status, data=data, actor="ada", event_id=new_id()
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def deletion(key: StateKey, expected: int | None = None, **changes: object) -> Write:
    """Return a write that leaves a tombstone."""
    return write(key, expected, b"null", change=Change.DELETED, **changes)
