"""Pages: sizes within bounds, and tokens that say where to go on. A token carries no right; access is decided anew."""

import base64
import binascii
import bisect
from collections.abc import Sequence

import msgspec

from stylobate.errors import InvalidInputError, Violation

DEFAULT_SIZE = 50
MAX_SIZE = 500
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str]).decode


def page_size(asked: int) -> int:
    """Return the size of the page: 50 when none was asked for, at most 500. Raises InvalidInputError below 0."""
    if asked < 0:
        raise InvalidInputError(violations=[Violation("/page_size", "must not be negative")])
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def page_token(about: tuple[str, ...], position: str) -> str:
    """Return the token for going on behind the position in the listing that ``about`` names."""
    return base64.urlsafe_b64encode(_encode([*about, position])).rstrip(b"=").decode()


def page_position(about: tuple[str, ...], token: str) -> str:
    """Return the position in a token; empty for an empty one.

    :raises InvalidInputError: no token of ours, or one of another listing.
    """
    if not token:
        return ""
    try:
        *found, position = _decode(base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        raise no_token() from None
    if tuple(found) != about or not position:
        raise no_token()
    return position


def no_token() -> InvalidInputError:
    """Return the error for an invalid token, or one of another listing."""
    detail = "is not a page token of this listing; pass it on as received, with the same filters"
    return InvalidInputError(violations=[Violation("/page_token", detail)])


def page_of(names: Sequence[str], about: str, asked: int, token: str) -> tuple[Sequence[str], str]:
    """Return a page of names that lie in memory, sorted, and the token of the next one, empty on the last.

    :param about: names the list. :param asked: as :func:`page_size`. :param token: as :func:`page_position`.
    """
    size = page_size(asked)
    start = bisect.bisect_right(names, page_position((about,), token)) if token else 0
    page = names[start : start + size]
    return page, page_token((about,), page[-1]) if start + size < len(names) else ""
