"""The databases that the services of a platform have at a MongoDB address."""

from urllib.parse import parse_qsl, urlsplit, urlunsplit

DEFAULT = "stylobate"


def database_of(url: str, service: str) -> str:
    """Return the name of a service's database: the name in the URL, or ``stylobate``, with the service behind it."""
    return f"{urlsplit(url).path.strip('/') or DEFAULT}_{service}"


def users_of(url: str) -> str:
    """Return the database in which the user of a URL is known: ``authSource``, else the name in the URL, else ``admin``."""
    parts = urlsplit(url)
    said = {name.lower(): value for name, value in parse_qsl(parts.query)}
    return said.get("authsource") or parts.path.strip("/") or "admin"


def named(url: str, name: str) -> str:
    """Return the URL with another name in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
