"""A session in a browser's cookies: how they are read, set and cleared (RFC 6265bis)."""

from dataclasses import dataclass, field

from stylobate.errors import TokenInvalidError
from stylobate.identity.session_cookie import access_cookie, cookie_pairs, session_cookie

from stylobate_gateway.exchange import Exchange

_COOKIE = b"cookie"


@dataclass(frozen=True, slots=True)
class HeldCookies:
    """What a browser has of a session."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


class SessionCookies:
    """Names and attributes of the three cookies.

    The browser sends all three to this host alone, with requests for any of its paths (``Path=/``, no ``Domain``). With requests
    that another site caused it sends them only when a link is followed (``SameSite=Lax``). Scripts can read the CSRF token, but
    not the other two.

    :param is_secure: whether they are ``Secure``, with the prefix ``__Host-``: browsers then take them over TLS only, and from
        no other host. False: for development over plain HTTP.
    """

    def __init__(self, *, is_secure: bool) -> None:
        self.access = access_cookie(is_secure=is_secure)
        self.refresh, self.csrf = (session_cookie(name, is_secure=is_secure) for name in ("refresh", "csrf"))
        self._attributes = "; Path=/; SameSite=Lax" + ("; Secure" if is_secure else "")

    def held(self, exchange: Exchange) -> HeldCookies | None:
        """Return what came with a request; None: nothing did. Raises TokenInvalidError: there are two of one name."""
        if _COOKIE not in exchange.headers:
            return None
        found: dict[str, str] = {}
        for name, value in cookie_pairs(value.decode("latin-1") for name, value in exchange.head.sent if name == _COOKIE):
            if name in {self.access, self.refresh} and found.setdefault(name, value) != value:
                raise TokenInvalidError("Two cookies of one name: another host of this site has set one of them.")
        held = HeldCookies(found.get(self.access, ""), found.get(self.refresh, ""))
        return held if held.access or held.refresh else None

    def setting(self, access: str, refresh: str, csrf: str, seconds: int | None) -> list[bytes]:
        """Return the values of ``Set-Cookie``.

        :param seconds: how long the session lives; None: not known, the browser keeps them until it is closed.
        """
        age = "" if seconds is None else f"; Max-Age={seconds}"
        values = ((self.access, access, "; HttpOnly"), (self.refresh, refresh, "; HttpOnly"), (self.csrf, csrf, ""))
        return [f"{name}={value}{self._attributes}{more}{age}".encode() for name, value, more in values]

    def clearing(self) -> list[bytes]:
        """Return the values of ``Set-Cookie`` that take all three away."""
        return self.setting("", "", "", 0)
