"""Real servers from wheels for the laptop and for tests: Valkey and PostgreSQL on unix sockets.

``async start()``, ``async ready()`` (the server answered), ``async stop()``, ``url``, ``process``; data survive restarts.
"""

from stylobate.launcher.embedded.folders import run_folder
from stylobate.launcher.embedded.postgres import EmbeddedPostgres
from stylobate.launcher.embedded.process import ChildProcess, EmbeddedServerError, ProcessRecord
from stylobate.launcher.embedded.valkey import EmbeddedValkey

__all__ = ["ChildProcess", "EmbeddedPostgres", "EmbeddedServerError", "EmbeddedValkey", "ProcessRecord", "run_folder"]
