"""The environment that `up` gives its processes: embedded servers unless told otherwise, development unless told otherwise."""

import os
from collections.abc import Mapping

from stylobate.launcher.embedded import EmbeddedMongo, EmbeddedOpenBao, EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from stylobate.launcher.project import Project

VAULT, MONGODB = "vault", "mongodb"
SERVERS = frozenset(("valkey", "postgres", VAULT, MONGODB))
"""What may run beside the services, by the names of processes and logs."""
"""Their names among the endpoints."""


class LocalServers:
    """The embedded servers of a project: those whose address nobody has set."""

    def __init__(
        self, project: Project, environ: Mapping[str, str] = os.environ, *, vault_port: int = 0, mongodb_port: int = 0
    ) -> None:
        """Describe them; nothing runs yet.

        :param vault_port: where OpenBao is to listen; 0: there is none.
        :param mongodb_port: where MongoDB is to listen, in place of PostgreSQL; 0: there is none.
        """
        self._project = project
        self._environ = environ
        self.valkey = (
            None
            if environ.get("STYLOBATE_REDIS_URL")
            else EmbeddedValkey(project.data / "valkey", project.run, log=project.logs / "valkey.log")
        )
        has_database = bool(environ.get("STYLOBATE_DATABASE_URL"))
        self.mongodb = (
            EmbeddedMongo(project.data / MONGODB, mongodb_port, log=project.logs / "mongodb.log")
            if mongodb_port and not has_database
            else None
        )
        self.postgres = (
            None
            if has_database or self.mongodb is not None
            else EmbeddedPostgres(project.data / "postgres", project.run, log=project.logs / "postgres.log")
        )

        self.vault = EmbeddedOpenBao(project.data / "vault", vault_port, log=project.logs / "vault.log") if vault_port else None

    @classmethod
    def of(cls, project: Project) -> "LocalServers":
        """Return the servers as `up` runs them in the project at this moment, or would run them."""
        running = project.alive()
        return cls.at(project, running.endpoints if running is not None else {})

    @classmethod
    def at(cls, project: Project, endpoints: Mapping[str, str]) -> "LocalServers":
        """Return those that these endpoints name, beside Valkey and, unless they name MongoDB, PostgreSQL."""
        vault, mongodb = (int(endpoints.get(name, "").rpartition(":")[2] or 0) for name in (VAULT, MONGODB))
        return cls(project, vault_port=vault, mongodb_port=mongodb)

    @property
    def all(self) -> list[EmbeddedServer]:
        """Those that this project runs itself."""
        return [server for server in (self.valkey, self.postgres, self.mongodb, self.vault) if server is not None]

    def environment(self) -> dict[str, str]:
        """Return the whole environment for the platform's processes; what the user set stays."""
        ours = {
            "STYLOBATE_ENVIRONMENT": "development",
            "STYLOBATE_IDENTITY_FOLDER": str(self._project.identity),
            "STYLOBATE_AUTH_MAIL_FOLDER": str(self._project.mail),
            "STYLOBATE_DRAIN_WAIT": "0s",
            "STYLOBATE_DRAIN_GRACE": "1s",
        }
        if self.valkey is not None:
            ours["STYLOBATE_REDIS_URL"] = self.valkey.url
        if self.postgres is not None:
            ours["STYLOBATE_DATABASE_URL"] = self.postgres.url
        if self.mongodb is not None:
            ours["STYLOBATE_DATABASE_URL"] = self.mongodb.url
        if self.vault is not None:
            ours |= self.vault.environment()
        return ours | {name: value for name, value in self._environ.items() if value or name not in ours}
