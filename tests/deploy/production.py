"""A platform in production mode beside servers of the system with TLS and passwords."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stylobate.testing.authority import Authority

from tests.deploy.servers import postgres, postgres_programs, redis, redis_program


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Authority, dict[str, str]]]:
    """Give an authority and the settings of a platform; skips where the system has no PostgreSQL or Redis."""
    programs, redis_server = postgres_programs(), redis_program()
    if programs is None or redis_server is None:
        pytest.skip("needs the system's PostgreSQL and Redis: apt install postgresql redis-server")
    certificates = folder / "certificates"
    certificates.mkdir()
    authority = Authority(certificates)
    with (
        postgres(programs, authority) as database_url,
        redis(folder / "redis", redis_server, authority) as redis_url,
    ):
        yield (
            authority,
            {
                "STYLOBATE_ENVIRONMENT": "production",
                "STYLOBATE_DATABASE_URL": database_url,
                "STYLOBATE_REDIS_URL": redis_url,
                "STYLOBATE_AUTH_SIGNING_KEY": "a signing key of more than thirty-two characters",
                "STYLOBATE_AUTH_REGISTRATION": "open",
                "STYLOBATE_DATABASE_POOL_SIZE": "5",
            },
        )
