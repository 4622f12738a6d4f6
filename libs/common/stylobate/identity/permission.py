"""Permissions as text: ``orders:create``, ``orders:*`` (all of an area), ``*`` (everything)."""

from collections.abc import Collection

EVERYTHING = "*"


def grants(held: Collection[str], permission: str) -> bool:
    """Return whether one of the permissions held covers the one asked for.

    ``orders:*`` covers ``orders:create`` and ``orders:items:read``; ``*`` covers all. What is asked for is taken
    literally: holding ``orders:create`` does not answer a question about ``orders:*``.
    """
    if permission in held or EVERYTHING in held:
        return True
    area, colon, _ = permission.rpartition(":")
    while colon:
        if f"{area}:*" in held:
            return True
        area, colon, _ = area.rpartition(":")
    return False
