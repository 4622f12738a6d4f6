"""The cookies of browsers' sessions, as every door calls them."""

from collections.abc import Iterable

_PREFIX = "__Host-"
_MOST = 256
"""Cookies of one request that are looked at."""


def session_cookie(name: str, *, is_secure: bool) -> str:
    """Return a cookie's name.

    :param is_secure: whether browsers are to take it over TLS only, and for one host alone.
    """
    return f"{_PREFIX if is_secure else ''}stylobate_{name}"


def access_cookie(*, is_secure: bool) -> str:
    """Return the name of the one that holds the access token."""
    return session_cookie("access", is_secure=is_secure)


def cookie_pairs(lines: Iterable[str]) -> list[tuple[str, str]]:
    """Return names and values of the cookies that came with a request.

    :param lines: the values of its ``Cookie`` fields.
    """
    parts = "; ".join(lines).split(";", _MOST)[:_MOST]
    return [(name.strip(), value.strip()) for name, _, value in (part.partition("=") for part in parts)]
