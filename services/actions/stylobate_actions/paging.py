"""Pages of lists that lie in memory, in the order of their names."""

import base64
import binascii
import bisect
from collections.abc import Sequence

from stylobate_actions.errors import PageTokenInvalidError

_DEFAULT = 50
_MAXIMUM = 500


def page_of(names: Sequence[str], page_size: int, page_token: str) -> tuple[Sequence[str], str]:
    """Return a page of the sorted names and the token of the next one, empty on the last.

    :param page_size: at most 500; 0 means 50.
    :raises PageTokenInvalidError: the token was not given out by this list.
    """
    size = min(page_size, _MAXIMUM) if page_size > 0 else _DEFAULT
    start = bisect.bisect_right(names, _decoded(page_token)) if page_token else 0
    page = names[start : start + size]
    return page, _encoded(page[-1]) if start + size < len(names) else ""


def _encoded(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise PageTokenInvalidError from error
