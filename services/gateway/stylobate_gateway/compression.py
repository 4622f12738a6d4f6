"""Answers compressed for clients that take it: gzip, by ``Accept-Encoding`` (RFC 9110 §8.4.1.3, §12.5.3).

What is short is left as it is, and costs a comparison. What tells of an account is never compressed: it is ``no-store``, and
holds secrets beside what the client sent (BREACH). Everything else is asked for with a token that a page must add itself, so no
stranger's page can have it asked for.
"""

import asyncio
import re
import zlib
from functools import lru_cache

from stylobate.http.asgi import Header, Headers

SUFFIX = b"-gzip"
"""Ends a strong ``ETag``: what is compressed is another representation, with a tag of its own (RFC 9110 §8.8.3.3)."""
_ELSEWHERE = 64 * 1024
"""Bytes above which a thread compresses: some half a millisecond."""
_LEVEL = 1
"""Level 6 takes three times as long, for a tenth less."""
_GZIP = 16 + zlib.MAX_WBITS
_WEIGHTED = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")
_LONGEST = 256
"""Bytes of an ``Accept-Encoding`` that is read."""
_VARY: Header = (b"vary", b"accept-encoding")
_CODING: Header = (b"content-encoding", b"gzip")
_AS_IT_IS = frozenset({b"content-encoding", b"content-range"})


class Compression:
    """Compresses whole answers.

    :param least: bytes that an answer has at least.
    """

    def __init__(self, least: int) -> None:
        self.least = least

    def concerns(self, headers: Headers) -> bool:
        """Return whether an answer with these fields, its length among them, is compressed for who wants it so."""
        size, kind = 0, b""
        for name, value in headers:
            if name == b"content-length":
                size = int(value)
            elif name == b"content-type":
                kind = value.partition(b";")[0].strip()
            elif name in _AS_IT_IS or (name == b"cache-control" and (b"no-store" in value or b"no-transform" in value)):
                return False
        return size >= self.least and _shrinks(kind)

    async def pack(self, accepted: bytes, headers: Headers, body: bytes) -> tuple[Headers, bytes]:
        """Return fields and body of an answer that is concerned, as they go out.

        :param accepted: the request's ``Accept-Encoding``; empty where there was none.
        """
        headers = [*headers, _VARY]
        if not prefers_gzip(accepted):
            return headers, body
        if len(body) > _ELSEWHERE:
            packed = await asyncio.to_thread(zlib.compress, body, _LEVEL, _GZIP)
        else:
            packed = zlib.compress(body, _LEVEL, _GZIP)
        if len(packed) >= len(body):
            return headers, body
        return [*(_of_packed(field, packed) for field in headers), _CODING], packed


def _of_packed(field: Header, packed: bytes) -> Header:
    name, value = field
    if name == b"content-length":
        return name, b"%d" % len(packed)
    if name == b"etag" and not value.startswith(b"W/"):
        return name, value[:-1] + SUFFIX + b'"'
    return field


@lru_cache(maxsize=128)
def _shrinks(kind: bytes) -> bool:
    """Return whether content of the type is text."""
    return kind.startswith(b"text/") or kind.endswith((b"json", b"xml", b"javascript"))


def prefers_gzip(accepted: bytes) -> bool:
    """Return whether a client would rather have gzip than an answer as it is. What cannot be read counts for nothing."""
    return len(accepted) <= _LONGEST and _prefers_gzip(accepted)


@lru_cache(maxsize=128)
def _prefers_gzip(accepted: bytes) -> bool:
    found = (_WEIGHTED.fullmatch(part.strip(b" \t")) for part in accepted.lower().split(b","))
    weights = {match[1]: float(match[2] or b"1") for match in found if match}
    others = weights.get(b"*")
    gzip = weights.get(b"gzip", weights.get(b"x-gzip"))
    identity = weights.get(b"identity", 0.0 if others == 0 else None)
    if gzip is None:  # where anything will do, what is not coded does best
        return bool(others) and identity == 0
    return gzip > 0 and gzip >= (identity or 0.0)
