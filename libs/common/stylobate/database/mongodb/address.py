"""The databases that the services of a platform have at a MongoDB address."""

from urllib.parse import urlsplit, urlunsplit

DEFAULT = "stylobate"


def database_of(url: str, service: str) -> str:
    """Return the name of a service's database: the name in the URL, or ``stylobate``, with the service behind it."""
    return f"{urlsplit(url).path.strip('/') or DEFAULT}_{service}"


def named(url: str, name: str) -> str:
    """Return the URL with another name in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
