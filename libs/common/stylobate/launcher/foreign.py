"""Settings in the environment that are meant for other programs and would break this one: set aside, and named once.

Libraries read them when they are imported, so this module imports none.
"""

from collections.abc import Iterable, MutableMapping

_READ_AT_IMPORT = (
    "OTEL_PROPAGATORS",
    "OTEL_PYTHON_CONTEXT",
    "OTEL_PYTHON_ID_GENERATOR",
    "OTEL_PYTHON_METER_PROVIDER",
    "OTEL_PYTHON_TRACER_PROVIDER",
    "PROMETHEUS_MULTIPROC_DIR",
    "prometheus_multiproc_dir",
)
"""What OpenTelemetry and the Prometheus client take from the environment and cannot do here: name plugins that are not
installed, or keep metrics in files."""

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "WS_PROXY", "WSS_PROXY", "SOCKS_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def set_aside(environ: MutableMapping[str, str]) -> list[str]:
    """Remove what would break us; return the names."""
    return _remove(environ, _READ_AT_IMPORT)


def set_aside_libpq(environ: MutableMapping[str, str]) -> list[str]:
    """Remove ``PGHOST``, ``PGSSLMODE`` and the like: the embedded PostgreSQL is reached by its socket alone."""
    return _remove(environ, [name for name in environ if name.startswith("PG")])


def stay_on_this_machine(environ: MutableMapping[str, str]) -> None:
    """Remove proxies and certificates of other places, for a command that speaks to the loopback interface only."""
    _remove(environ, [*_CERTIFICATES, *_PROXIES, *(name.lower() for name in _PROXIES)])


def _remove(environ: MutableMapping[str, str], names: Iterable[str]) -> list[str]:
    return [name for name in names if environ.pop(name, None) is not None]
