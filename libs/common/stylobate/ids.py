"""Identifiers."""

import re

import uuid_utils

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}")


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562 §5.7) as a string; ids made later sort later."""
    return str(uuid_utils.uuid7())


def request_id(given: bytes) -> str:
    """Return the id that a client gave its request in ``X-Request-Id``; a new one where it gave none, or one of another form."""
    return given.decode("ascii") if _REQUEST_ID.fullmatch(given) else new_id()
