"""Real servers from wheels for the laptop and for tests: Valkey and PostgreSQL on unix sockets, MongoDB and OpenBao on ports.

``async start()``, ``async ready()`` (the server answered), ``async stop()``, ``url``, ``process``; data survive restarts.
"""

from stylobate.launcher.embedded.folders import run_folder
from stylobate.launcher.embedded.mongodb import EmbeddedMongo
from stylobate.launcher.embedded.openbao import EmbeddedOpenBao
from stylobate.launcher.embedded.postgres import EmbeddedPostgres
from stylobate.launcher.embedded.process import ChildProcess, EmbeddedServerError, ProcessRecord
from stylobate.launcher.embedded.valkey import EmbeddedValkey

EmbeddedServer = EmbeddedMongo | EmbeddedOpenBao | EmbeddedPostgres | EmbeddedValkey

__all__ = [
    "ChildProcess",
    "EmbeddedMongo",
    "EmbeddedOpenBao",
    "EmbeddedPostgres",
    "EmbeddedServer",
    "EmbeddedServerError",
    "EmbeddedValkey",
    "ProcessRecord",
    "run_folder",
]
