"""What a database says to a setting that is wrong: no waiting cures it, so who starts is told, in one line."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from stylobate.config import ConfigError
from stylobate.database.address import hosts
from stylobate.errors import DatabaseUnavailableError

URL, REPLICA_URL, POOLER = (f"STYLOBATE_DATABASE_{name}" for name in ("URL", "REPLICA_URL", "POOLER"))
_REFUSED = ("28", "3D", "42501")
"""SQLSTATEs: who we are (a wrong user or password, no TLS where it must be), which database, what we may."""
_NO_TLS = "rejected SSL upgrade"  # asyncpg's words for a server that speaks no TLS, of the type of a lost connection
_NO_PARAMETERS = "unsupported startup parameter"  # PgBouncer's words
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError)


@contextmanager
def refusals(setting: str, url: str) -> Iterator[None]:
    """Raise ConfigError, which names the setting, for an error of connecting to the URL that stays; others pass through."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DatabaseUnavailableError) as error:
        cause = error.__cause__ if isinstance(error, DatabaseUnavailableError) else error
        said = " ".join(_refusal(cause).split())
        if not said:
            raise
        blamed = POOLER if _NO_PARAMETERS in said else setting
        raise ConfigError([f"{blamed}: database {hosts(url)}: {said}"]) from error


def _refusal(error: BaseException | None) -> str:
    """Return what the server or the driver said; empty for what may pass."""
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError() if not isinstance(error, _CUT_OFF):
            return f"no TLS connection: {error.reason or error}"
        case ConnectionError() if _NO_TLS in str(error):
            return "it speaks no TLS; sslmode=prefer does without"
        case asyncpg.PostgresError() if (error.sqlstate or "").startswith(_REFUSED) or _NO_PARAMETERS in str(error):
            return str(error.args[0])
        case asyncpg.ClientConfigurationError():
            return str(error)
        case _:
            return ""
