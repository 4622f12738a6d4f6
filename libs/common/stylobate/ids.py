"""Identifiers."""

import re

import uuid_utils

_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}")


def new_id() -> str:
    """Return a new UUIDv7 (RFC 9562 §5.7) as a string; ids made later sort later."""
    return str(uuid_utils.uuid7())


def request_id_of(given: str) -> str:
    """Return the id that a client gave its request (``x-request-id``); a new one where it gave none, or one of another form."""
    return given if _REQUEST_ID.fullmatch(given) else new_id()
