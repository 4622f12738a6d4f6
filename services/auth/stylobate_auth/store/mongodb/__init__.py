"""The port in MongoDB, on the service's own database."""

from stylobate_auth.store.mongodb.store import MongoAuthStore

__all__ = ["MongoAuthStore"]
