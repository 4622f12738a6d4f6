"""What the head of a request must be before an application sees it: its host, its framing, its path and query."""

import re
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from stylobate.app.http_refusal import CODING, HOST, MALFORMED, PATH, QUERY, TRANSFER_ENCODING
from stylobate.errors import StylobateError

Headers = Sequence[tuple[bytes, bytes]]

WATCHED = frozenset({b"host", b"transfer-encoding", b"expect"})
"""Fields that :func:`framing_refusal` and the protocol look at; the others cost one look-up."""
VERSIONS = ("1.1", "1.0")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)(?::[0-9]{0,5})?")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class HeadRefusedError(Exception):
    """The head is refused; raised in the parser's callbacks, which stops the parser at once."""

    def __init__(self, refusal: StylobateError) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def framing_refusal(watched: Headers, version: str) -> StylobateError | None:
    """Return why the head cannot be taken, None when it can.

    :param watched: its fields that are in :data:`WATCHED`, names in lower case.
    :param version: ``1.1`` or ``1.0``.
    """
    if version not in VERSIONS:
        return MALFORMED
    hosts = 0
    codings = []
    for name, value in watched:
        if name == b"host":
            hosts += 1
            if not is_host(value):
                return HOST
        elif name == b"transfer-encoding":
            codings.append(value)
    if hosts > 1 or (not hosts and version != "1.0"):
        return HOST
    if codings and (version == "1.0" or len(codings) > 1):
        return TRANSFER_ENCODING
    if codings and codings[0].lower() != b"chunked":
        return CODING if codings[0].lower().endswith(b"chunked") else TRANSFER_ENCODING
    return None


def is_host(value: bytes) -> bool:
    """Return whether it is a host with or without a port; an empty one is too (RFC 9110 section 7.2)."""
    return _HOST.fullmatch(value) is not None


def decoded(path: bytes) -> str:
    """Return the path that was sent, decoded. Raises HeadRefusedError for what would make two spellings one."""
    if b"%" not in path:
        try:
            return path.decode("ascii")
        except UnicodeDecodeError:
            raise HeadRefusedError(PATH) from None
    if _BROKEN_ESCAPE.search(path) is not None or not path.isascii():
        raise HeadRefusedError(PATH)
    try:
        return unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise HeadRefusedError(PATH) from None


def readable(query: bytes) -> bytes:
    """Return the query that was sent, as it is. Raises HeadRefusedError for one that could only be read by replacing something.

    A lone ``%`` stands for itself there (the URL standard's application/x-www-form-urlencoded).
    """
    try:
        (unquote_to_bytes(query) if b"%" in query else query).decode()
    except UnicodeDecodeError:
        raise HeadRefusedError(QUERY) from None
    if not query.isascii():
        raise HeadRefusedError(QUERY)
    return query


def has_token(headers: Headers, name: bytes, token: bytes) -> bool:
    """Return whether the comma-separated field has the token, in any case and on any of its lines."""
    return any(found == name and token in (part.strip().lower() for part in value.split(b",")) for found, value in headers)


def without_upgrade(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the head's fields as if nothing but HTTP/1.1 had been offered (RFC 9110 section 7.8)."""
    kept = []
    for name, value in headers:
        if name == b"upgrade":
            continue
        if name == b"connection":
            options = [part.strip() for part in value.split(b",")]
            value = b", ".join(part for part in options if part.lower() != b"upgrade")  # noqa: PLW2901  what is left of it
            if not value:
                continue
        kept.append((name, value))
    return kept
