"""Ephemeral namespaces for tests."""

from dataclasses import replace
from datetime import timedelta

from stylobate.declarations.model import AccessRule, FieldDeclaration
from stylobate_state.model import StateKey

from .samples import NOTES, ORDERS

TTL = timedelta(minutes=5)
CARTS = replace(ORDERS, name="carts", ttl=TTL, access=replace(ORDERS.access, assign=AccessRule(("owner",))))
PADS = replace(NOTES, name="pads", ttl=TTL, fields=(FieldDeclaration("secret", AccessRule(("owner",))),))
SPACE = "{state:default:pads}:"


def key(name: str) -> StateKey:
    """Return the key of a pad."""
    return StateKey("default", "pads", name)
