"""Kinds of values that settings have, each checked where it is set: what is refused here does not fail later, at work."""

import math
import re
import ssl
from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pydantic import AfterValidator, Field

_MONGODB = ("mongodb", "mongodb+srv")
_MOST = 2**53
"""What every reader of numbers keeps exactly."""
_LEAST_SECRET = 32
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.|\Z))+")


class OnUnreachable(StrEnum):
    """What holds while what counts limits cannot be asked: each process counts by itself, all pass, or all are refused."""

    LOCAL = "local"
    OPEN = "open"
    CLOSED = "closed"


def _parts(url: str, *schemes: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(f"is not a URL: {error}") from None
    if parts.scheme not in schemes:
        raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    for server in parts.netloc.rpartition("@")[2].split(","):
        _check_port(server)
    return parts


def _check_port(server: str) -> None:
    try:
        _ = urlsplit(f"//{server}").port
    except ValueError as error:
        raise ValueError(f"{server!r}: {error}") from None


def _check_files(parts: SplitResult, authority: str, *others: str) -> None:
    """Raise ValueError where a file that the query names is not there, or holds no certificates of an authority."""
    for name, value in parse_qsl(parts.query):
        if name in (authority, *others) and not Path(value).is_file():
            raise ValueError(f"{name}: {value} is not a file")
        if name == authority:
            try:
                ssl.create_default_context(cafile=value)
            except OSError as error:
                raise ValueError(f"{name}: {value} holds no certificate: {error.strerror or error}") from None


def _postgres(url: str) -> str:
    if url:
        _check_files(_parts(url, "postgresql", "postgres"), "sslrootcert", "sslcert", "sslkey", "sslcrl")
    return url


def is_mongodb(url: str) -> bool:
    """Return whether a database URL is of MongoDB; else it is of PostgreSQL."""
    return url.partition("://")[0] in _MONGODB


def _database(url: str) -> str:
    if not is_mongodb(url):
        return _postgres(url)
    parts = _parts(url, *_MONGODB)
    if not parts.netloc.rpartition("@")[2]:
        raise ValueError("names no server; mongodb://db1,db2/stylobate?replicaSet=rs0 does")
    _check_files(parts, "tlsCAFile", "tlsCertificateKeyFile")
    return url


def _redis(url: str) -> str:
    begins = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster", "redis+sentinel", "rediss+sentinel")
    parts = _parts(url, *begins)
    if parts.scheme == "unix" and not parts.path:
        raise ValueError("names no socket; unix:///run/redis.sock is one")
    if parts.scheme.endswith("+sentinel") and not parts.path.strip("/"):
        raise ValueError("names no master that the Sentinels watch; redis+sentinel://host1,host2/name is one")
    if parts.scheme.endswith("+cluster") and parts.path.strip("/") not in {"", "0"}:
        raise ValueError("names a database; a Cluster has number 0 alone")
    _check_files(parts, "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    return url


def _http(url: str) -> str:
    if url and not _parts(url, "http", "https").hostname:
        raise ValueError("names no host")
    return url


def _origin(origin: str) -> str:
    if origin != "*":
        parts = _parts(origin, "http", "https")
        if not parts.hostname or parts.path or parts.query:
            raise ValueError(f"{origin!r} is not an origin; https://app.example.com is one")
    return origin


def _host_name(name: str) -> str:
    if _HOST_NAME.fullmatch(name) is None:
        raise ValueError(f"{name[:80]!r} is not a host name; gateway.example.com is one, without scheme and port")
    return name


def _long(secret: str) -> str:
    if secret and len(secret) < _LEAST_SECRET:
        raise ValueError(f"must have at least {_LEAST_SECRET} characters")
    return secret


def _network(text: str) -> str:
    ip_network(text)  # raises ValueError, which names it
    return text


PostgresUrl = Annotated[str, AfterValidator(_postgres)]
"""``postgresql://user@host1:port,host2/database``; may be empty where that means something."""
DatabaseUrl = Annotated[str, AfterValidator(_database)]
"""The same, or ``mongodb://user@host1,host2/name?replicaSet=rs0``."""
RedisUrl = Annotated[str, AfterValidator(_redis)]
"""``redis://``, ``rediss://`` (TLS), ``unix://``; ``redis+cluster://``, ``redis+sentinel://``; see RedisAddress."""
HttpUrl = Annotated[str, AfterValidator(_http)]
"""``http://host:port`` or ``https://…``; may be empty where that means something."""
Origin = Annotated[str, AfterValidator(_origin)]
"""``https://app.example.com``, or ``*`` for all (RFC 6454)."""
HostName = Annotated[str, AfterValidator(_host_name)]
"""``gateway.example.com``, or a name without a dot (RFC 1123 section 2.1); no scheme, no port."""
Network = Annotated[str, AfterValidator(_network)]
"""An address or a network in CIDR notation."""
LongSecret = Annotated[str, AfterValidator(_long)]
"""Text that a key is made of, too long to be tried out; may be empty where that means something."""
Share = Annotated[float, Field(ge=0, le=1)]
"""Of a whole: 0 is none, 1 all."""


def check_sane(value: Any) -> Any:
    """Return a value that any setting may have. Raises ValueError for what none may: negative, not finite, with a NUL."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, (int, float)) and value < 0:
        raise ValueError("must not be negative")
    if isinstance(value, int) and value > _MOST:
        raise ValueError(f"must be at most {_MOST}")
    if isinstance(value, timedelta) and value < timedelta(0):
        raise ValueError("must not be negative")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("must not contain U+0000")
    return value
