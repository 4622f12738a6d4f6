"""Ephemeral namespaces for tests."""

from dataclasses import replace
from datetime import timedelta

from stylobate.declarations.model import AccessRule, FieldDeclaration

from .samples import NOTES, ORDERS

TTL = timedelta(minutes=5)
CARTS = replace(ORDERS, name="carts", ttl=TTL, access=replace(ORDERS.access, assign=AccessRule(("owner",))))
PADS = replace(NOTES, name="pads", ttl=TTL, fields=(FieldDeclaration("secret", AccessRule(("owner",))),))
SPACE = "{state:default:pads}:"
