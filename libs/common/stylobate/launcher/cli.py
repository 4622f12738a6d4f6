"""The `stylobate` command. Each command lives in a module of its own under ``commands`` and is imported when it is called."""

import io
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from stylobate import __version__

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="The application base for Python teams."
)
db = typer.Typer(no_args_is_help=True, help="The database's schema.")
users = typer.Typer(no_args_is_help=True, help="Accounts.")
config = typer.Typer(no_args_is_help=True, help="Settings.")
modules = typer.Typer(no_args_is_help=True, help="Modules.")
hooks = typer.Typer(no_args_is_help=True, help="Durable hooks and their positions.")
events = typer.Typer(no_args_is_help=True, help="Events.")
dead = typer.Typer(no_args_is_help=True, help="Events that hooks gave up.")
events.add_typer(dead, name="dead")
for name, group in {"db": db, "hooks": hooks, "events": events, "users": users, "config": config, "modules": modules}.items():
    app.add_typer(group, name=name)

Split = Annotated[bool, typer.Option("--split", help="A process per service, over gRPC.")]
Workers = Annotated[int, typer.Option("--workers", min=1, max=64, help="Identical processes on the same ports.")]
Port = Annotated[int, typer.Option("--port", help="First of a row of ports to use instead of 8080, 9090, 8081.")]


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="An empty folder.")] = Path()) -> None:
    """Make a project with an example module in an empty folder."""
    from stylobate.launcher.commands.init import init as run

    run(folder)


@app.command()
def up(
    split: Split = False,
    workers: Workers = 1,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready; `stylobate down` stops it.")] = False,
    port: Port = 0,
) -> None:
    """Run the whole platform here, with a real Valkey and PostgreSQL."""
    from stylobate.launcher.commands.up import up as run

    run(split=split, workers=workers, detach=detach, port=port)


@app.command()
def dev(split: Split = False, workers: Workers = 1, port: Port = 0) -> None:
    """Run the platform and restart it when a file of a module or service is saved."""
    from stylobate.launcher.commands.up import up as run

    run(split=split, workers=workers, detach=False, port=port, watch=True)


@app.command()
def serve(
    names: Annotated[list[str], typer.Argument(help="Services to host in this process.", envvar="STYLOBATE_SERVICES")],
) -> None:
    """Host only these services, for containers; the others by address (STYLOBATE_<SERVICE>_ADDRESS)."""
    from stylobate.launcher.commands.serve import serve as run

    run(names)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show how the running platform is; exit 0 only when every service is ready."""
    from stylobate.launcher.commands.status import status as run

    run(as_json=as_json)


@app.command()
def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = 40,
    as_json: Annotated[bool, typer.Option("--json", help="As they are written, one object a line.")] = False,
) -> None:
    """Show what all of the platform's processes log, by time."""
    from stylobate.launcher.commands.logs import logs as run

    run(follow=follow, lines=lines, as_json=as_json)


@app.command()
def restart() -> None:
    """Replace the running platform's processes, one after the other; with workers no request is refused meanwhile."""
    from stylobate.launcher.commands.restart import restart as run

    run()


@app.command()
def down() -> None:
    """Stop the running platform."""
    from stylobate.launcher.commands.down import down as run

    run()


@app.command()
def reset(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Throw away this project's local data: databases, secrets, logs."""
    from stylobate.launcher.commands.down import reset as run

    run(yes=yes)


@app.command()
def demo(
    gateway: Annotated[str, typer.Option(help="HTTP address of a platform elsewhere.")] = "",
    realtime: Annotated[str, typer.Option(help="Its WebSocket address; unset: /v1/realtime at the gateway.")] = "",
) -> None:
    """Play a customer's journey against the running platform; exit 0 only if every step held."""
    from stylobate.launcher.commands.demo import demo as run

    run(gateway, realtime)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@db.command("upgrade")
def db_upgrade(
    grant_to: Annotated[
        list[str] | None,
        typer.Option("--grant-to", help="Let a database USER, or SERVICE=USER, take the services' roles; may be repeated."),
    ] = None,
) -> None:
    """Apply pending migrations of every installed service."""
    from stylobate.launcher.commands.db import upgrade as run

    run(grant_to or ())


@db.command("status")
def db_status() -> None:
    """List pending migrations; exit 0 only when there is none."""
    from stylobate.launcher.commands.db import status as run

    run()


@db.command("restored")
def db_restored(
    services: Annotated[list[str] | None, typer.Argument(help="Whose database was restored; none: all that keep events.")] = None,
) -> None:
    """Say that a database was restored to an earlier state: its event log begins a new epoch.

    Only where the platform cannot see it itself: a volume's snapshot, or rows put back into the tables that are there.
    """
    from stylobate.launcher.commands.db import restored as run

    run(services or [])


@dead.command("list")
def dead_list(
    hook: Annotated[str, typer.Option(help="Only those of this hook, as `hooks list` names it.")] = "",
    most: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
) -> None:
    """Print what hooks gave up, the newest first."""
    from stylobate.launcher.commands.dead_letters import listing as run

    run(hook, most)


@dead.command("show")
def dead_show(letter: Annotated[int, typer.Argument(help="Its id, as `list` shows it.")]) -> None:
    """Print one whole, with its event, as JSON."""
    from stylobate.launcher.commands.dead_letters import show as run

    run(letter)


@dead.command("redrive")
def dead_redrive(
    letters: Annotated[list[int] | None, typer.Argument(help="Their ids, as `list` shows them.")] = None,
    hook: Annotated[str, typer.Option(help="All that this hook gave up.")] = "",
) -> None:
    """Let the hooks run on them again, behind what else of the same subject waits."""
    from stylobate.launcher.commands.dead_letters import redrive as run

    run(letters or [], hook)


@dead.command("drop")
def dead_drop(letters: Annotated[list[int], typer.Argument(help="Their ids, as `list` shows them.")]) -> None:
    """Forget them."""
    from stylobate.launcher.commands.dead_letters import drop as run

    run(letters)


@hooks.command("list")
def hooks_list() -> None:
    """Show how far each durable hook has come, what stands aside, and its dead letters."""
    from stylobate.launcher.commands.hooks import listing as run

    run()


@hooks.command("rewind")
def hooks_rewind(
    hook: Annotated[str, typer.Argument(help="Its name, as `hooks list` shows it.")],
    source: Annotated[str, typer.Option("--source", help="Whose log.")] = "state",
    start: Annotated[bool, typer.Option("--start", help="To the oldest event that is kept.")] = False,
    end: Annotated[bool, typer.Option("--end", help="Past the newest event: what lies between is not run.")] = False,
    since: Annotated[datetime | None, typer.Option("--since", help="Before the first event of this time.")] = None,
) -> None:
    """Let a durable hook go on from another place of the log; events behind it run again."""
    from stylobate.launcher.commands.hooks import Place
    from stylobate.launcher.commands.hooks import rewind as run

    run(hook, source, Place(start, end, since))


@users.command("create")
def users_create(
    email: str,
    admin: Annotated[bool, typer.Option("--admin", help="Give the role `admin`.")] = False,
    role: Annotated[list[str] | None, typer.Option("--role", help="A role beside `user`; may be repeated.")] = None,
    name: Annotated[str, typer.Option("--name", help="What others may see.")] = "",
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")] = False,
) -> None:
    """Create an account on the running platform, whatever the registration setting says."""
    from stylobate.launcher.commands.users import create as run

    run(email, admin=admin, roles=role or [], name=name, password_stdin=password_stdin)


@config.command("explain")
def config_explain() -> None:
    """Print every setting of every service, its value (secrets masked) and where it came from."""
    from stylobate.launcher.commands.config import explain as run

    run()


@config.command("check")
def config_check() -> None:
    """Exit non-zero when a setting cannot be used or a secret is missing."""
    from stylobate.launcher.commands.config import check as run

    run()


@modules.command("list")
def modules_list() -> None:
    """List the modules of this project."""
    from stylobate.launcher.commands.modules import listing as run

    run()


@modules.command("new")
def modules_new(
    name: Annotated[str, typer.Argument(help="Its name: lower case letters, digits and _.")],
    yaml: Annotated[
        bool, typer.Option("--yaml/--python", help="Where its actions are declared: actions.yaml, or its code.")
    ] = False,
) -> None:
    """Make a small module that works, with a test, in the folder of modules."""
    from stylobate.launcher.commands.new_module import new as run

    run(name, in_python=not yaml)


@modules.command("check")
def modules_check(
    start: Annotated[bool, typer.Option(help="Initialize each module once too, in a process of its own.")] = True,
) -> None:
    """Print every finding about the modules with file and line; exit non-zero when there is an error."""
    from stylobate.launcher.commands.modules import check as run

    run(starts=start)


def main() -> None:
    """Run the command line."""
    from stylobate.launcher.faces import plain_errors, warn
    from stylobate.launcher.foreign import set_aside

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a terminal that knows no ✓ shows something else; what is printed is seen at once, in a file too
            stream.reconfigure(errors="replace", line_buffering=True)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its lines are not JSON; what they tell comes as errors of calls
    if ignored := set_aside(os.environ):
        warn(f"ignored from the environment: {', '.join(ignored)}")
    with plain_errors():
        app()
