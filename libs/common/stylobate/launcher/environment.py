"""The environment that `up` gives its processes: embedded servers unless told otherwise, development unless told otherwise."""

import os
from collections.abc import Mapping

from stylobate.launcher.embedded import EmbeddedPostgres, EmbeddedValkey
from stylobate.launcher.project import Project


class LocalServers:
    """The embedded servers of a project: those whose address nobody has set."""

    def __init__(self, project: Project, environ: Mapping[str, str] = os.environ) -> None:
        self._project = project
        self._environ = environ
        self.valkey = (
            None
            if environ.get("STYLOBATE_REDIS_URL")
            else EmbeddedValkey(project.data / "valkey", project.run, log=project.logs / "valkey.log")
        )
        self.postgres = (
            None
            if environ.get("STYLOBATE_DATABASE_URL")
            else EmbeddedPostgres(project.data / "postgres", project.run, log=project.logs / "postgres.log")
        )

    @property
    def all(self) -> list[EmbeddedValkey | EmbeddedPostgres]:
        """Those that this project runs itself."""
        return [server for server in (self.valkey, self.postgres) if server is not None]

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
        return ours | {name: value for name, value in self._environ.items() if value or name not in ours}
