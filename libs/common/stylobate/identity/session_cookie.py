"""The cookies of browsers' sessions, as every door calls them."""

_PREFIX = "__Host-"


def session_cookie(name: str, *, is_secure: bool) -> str:
    """Return a cookie's name.

    :param is_secure: whether browsers are to take it over TLS only, and for one host alone.
    """
    return f"{_PREFIX if is_secure else ''}stylobate_{name}"


def access_cookie(*, is_secure: bool) -> str:
    """Return the name of the one that holds the access token."""
    return session_cookie("access", is_secure=is_secure)
