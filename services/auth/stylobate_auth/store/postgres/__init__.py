"""The port in PostgreSQL, on the service's own schema."""

from stylobate_auth.store.postgres.store import PostgresAuthStore

__all__ = ["PostgresAuthStore"]
