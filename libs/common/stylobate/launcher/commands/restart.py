"""`stylobate restart`."""

import time
from pathlib import Path

from stylobate.launcher.environment import SERVERS
from stylobate.launcher.output import CommandError, console
from stylobate.launcher.project import RESTART_SIGNAL, Project
from stylobate.launcher.standing import ask

_PAUSE_S = 0.1


def restart() -> None:
    """Ask the supervisor and wait until every service process is another one and ready. Raises CommandError."""
    project = Project(Path.cwd())
    running = project.demand()
    if running.mode == "one process":
        raise CommandError("it runs in one process, which cannot replace itself; `stylobate up --workers 2` can be restarted")
    before = {child.pid for child in running.children if child.name not in SERVERS}
    running.supervisor.send_signal(RESTART_SIGNAL)
    while True:
        time.sleep(_PAUSE_S)
        if (now := project.alive()) is None:
            raise CommandError("the platform was stopped meanwhile")
        pids = {child.pid for child in now.children}
        if len(pids) == len(running.children) and not before & pids and ask(now)["ready"]:
            console().print("restarted")
            return
