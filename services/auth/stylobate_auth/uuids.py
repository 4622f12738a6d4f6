"""Ids as they are written."""

from uuid import UUID


def uuid_of(text: str) -> UUID | None:
    """Return the id that a text is; None for what is not a UUID in its usual form."""
    try:
        key = UUID(text)
    except ValueError:
        return None
    return key if str(key) == text else None
