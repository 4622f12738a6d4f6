"""The `stylobate` command. Each command is declared in a module of `commands`, which is imported when it is called."""

import gc
import os
from importlib import import_module
from typing import Any

from typer import Typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

COMMANDS = {
    "init": "Make a project with an example module in an empty folder.",
    "up": "Run the whole platform here, with a real Valkey and PostgreSQL.",
    "dev": "Run the platform and restart it when a file of a module or service is saved.",
    "serve": "Host only these services, for containers; the others by address (STYLOBATE_<SERVICE>_ADDRESS).",
    "status": "Show how the running platform is; exit 0 only when every service is ready.",
    "logs": "Show what all of the platform's processes log, by time.",
    "restart": "Replace the running platform's processes, one after the other; with workers no request is refused meanwhile.",
    "down": "Stop the running platform.",
    "reset": "Throw away this project's local data: databases, secrets, logs.",
    "demo": "Play a customer's journey against the running platform; exit 0 only if every step held.",
    "version": "Print the version.",
    "backup": "Write everything that the databases hold into a folder, of one moment, while the platform runs.",
    "restore": "Put a backup into empty databases.",
    "db": "The database's schema.",
    "hooks": "Durable hooks and their positions.",
    "events": "Events.",
    "users": "Accounts.",
    "roles": "Roles.",
    "access": "Who may do what, and why.",
    "keys": "API keys.",
    "mail": "Show the last mails that the platform here has written in place of sending them.",
    "limits": "Rate limits and bans.",
    "audit": "What was done by whom.",
    "projections": "State objects that modules make of events.",
    "config": "Settings.",
    "modules": "Modules.",
    "states": "State objects.",
}
"""What each does. A function or a group of commands has its name, in the module of its name or in that of :data:`_BESIDE`."""
_GC_THRESHOLD = 50_000
"""As in a service: nothing of what is imported is garbage, and looking for some is an eighth of the time that it takes."""
_BESIDE = {"dev": "up", "reset": "down", "restore": "backup"}


class _Late(TyperCommand):
    """A command that is imported when it is called: most need a part of the platform only, and a container has not all of it."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Return the context of the command itself."""
        name = str(self.name)
        found = getattr(import_module(f"stylobate.launcher.commands.{_BESIDE.get(name, name)}"), name)
        if isinstance(found, Typer):
            found.info.help, found.info.no_args_is_help = self.help, True
            return get_group(found).make_context(info_name, args, parent, **extra)
        single = Typer(add_completion=False)
        single.command(name, help=self.help)(found)
        return get_command(single).make_context(info_name, args, parent, **extra)


def main() -> None:
    """Run the command line."""
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    from stylobate.launcher.foreign import set_aside
    from stylobate.launcher.output import plain_errors, prepare_streams, warn

    prepare_streams()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its lines are not JSON; what they tell comes as errors of calls
    if ignored := set_aside(os.environ):
        warn(f"ignored from the environment: {', '.join(ignored)}")
    commands = [_Late(name, help=does) for name, does in COMMANDS.items()]
    group = TyperGroup(name="stylobate", commands=commands, no_args_is_help=True, help="The application base for Python teams.")
    with plain_errors():
        group()
