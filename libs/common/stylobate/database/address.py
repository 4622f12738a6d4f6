"""A database address: of which kind it is, which servers it names, and what it leaves open."""

from urllib.parse import parse_qs, urlsplit, urlunsplit

from stylobate.value_kinds import is_mongodb

__all__ = ["hosts", "is_mongodb", "seeking"]


def hosts(url: str) -> str:
    """Return the servers and the database of a URL without user and password, for logs: ``db1:5432,db2/orders``."""
    parts = urlsplit(url)
    servers = parts.netloc.rpartition("@")[2] or ",".join(parse_qs(parts.query).get("host", ["localhost"]))
    return f"{servers}{parts.path}"


def seeking(url: str, *, read_only: bool) -> str:
    """Return a PostgreSQL URL with the kind of server that is wanted of several (``target_session_attrs``), unless it has it.

    Writers want the one that takes writes, wherever it moved; readers a standby while there is one.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    servers = parts.netloc.rpartition("@")[2] or query.get("host", [""])[0]
    if "target_session_attrs" in query or "," not in servers:
        return url
    wanted = "target_session_attrs=" + ("prefer-standby" if read_only else "read-write")
    return urlunsplit(parts._replace(query=f"{parts.query}&{wanted}" if parts.query else wanted))
