"""What a command imports: nothing that only a running service needs, for it is over in less time than that takes."""

import inspect
import subprocess
import sys

import pytest
from stylobate.launcher.lasting import CONTAINER, PLATFORM
from stylobate.services import Imported, installed_services

_HEAVY = {"fastapi", "uvicorn", "opentelemetry.exporter", "stylobate.app.host"}
_OF_TOKENS_AND_TRACES = {"jwt", "cryptography", "opentelemetry", "prometheus_client"}
"""Another fifth of a second, which those do without that ask nobody."""
_LEFT_OUT = {
    *("typer", "click", "rich", "multiprocessing", "watchfiles", "http.server", "wsgiref.simple_server", "uvicorn.main"),
    *("jinja2", "aiosmtplib", "email.policy", "opentelemetry.sdk", "prometheus_client.exposition", "hpack"),
    *("cryptography.x509.base", "fastapi.applications", "starlette.applications", "fastapi_offline"),
}
"""Some 12 MB."""


def test_a_command_imports_no_service() -> None:
    """Neither do the services' names, settings and migrations, which it reads. One after the other, in one process."""
    script = (
        "import importlib, sys\n"
        "for command in ('status', 'down', 'restart', 'config', 'db', 'logs'):\n"
        "    importlib.import_module(f'stylobate.launcher.commands.{command}')\n"
        "    from stylobate.services import installed_services\n"
        "    assert len(installed_services()) == 6\n"
        "    print(command, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        command, *found = line.split()
        assert not set(found) & (_HEAVY | (_OF_TOKENS_AND_TRACES if command in {"status", "down"} else set())), command
        assert not {name for name in found if name.endswith(".main") and name.startswith("stylobate_")}, command
    assert len(done.stdout.splitlines()) == 6


@pytest.mark.parametrize("spec", installed_services().values(), ids=lambda spec: spec.name)
def test_what_a_service_names_is_there(spec) -> None:
    """A name that is imported late must not be wrong until then."""
    for named, parameters in ((spec.build, ["app", "settings"]), (spec.in_memory, ["app"])):
        if named is not None:
            assert isinstance(named, Imported)
            function = named.load()
            assert inspect.iscoroutinefunction(function)
            assert list(inspect.signature(function).parameters) == parameters


def test_what_runs_in_a_container_does_without_the_extra_local() -> None:
    """`serve` and the operator's commands need nothing that only a laptop has."""
    script = (
        "import sys\n"
        "absent = dict.fromkeys(('httpx', 'psutil', 'watchfiles'))\n"
        "sys.modules.update(absent)\n"
        "import stylobate.launcher.cli as cli, stylobate.launcher.commands.serve, stylobate.launcher.container\n"
        "from stylobate.services import installed_services\n"
        "for spec in installed_services().values(): spec.load()\n"
        "sys.argv = ['stylobate', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        "from stylobate.launcher.commands import config, db, hooks, users\n"
        "from stylobate.config import ConfigError\n"
        "from stylobate.launcher.output import plain_errors\n"
        "with plain_errors(): raise ConfigError(['said in one line'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: said in one line\n")
    assert "Host only these services" in done.stdout


def test_what_serves_holds_none_of_what_it_does_not_use() -> None:
    """No command line, no mail, no traces, no library's own client or server. A module that asks for what was left out has it."""
    script = (
        "import importlib, sys\n"
        f"for program in ('{PLATFORM}', '{CONTAINER}'): importlib.import_module(program)\n"
        "from stylobate.services import installed_services\n"
        "import stylobate.launcher.serving, uvicorn.lifespan.off\n"
        "for spec in installed_services().values(): spec.load()\n"
        "print(*sys.modules)\n"
        "assert not sys.modules['fastapi.openapi.models'].OpenAPI.__pydantic_complete__\n"
        "import fastapi, prometheus_client, uvicorn\n"
        "from cryptography import x509\n"
        "assert uvicorn.run and prometheus_client.start_http_server and x509.load_pem_x509_certificate\n"
        "assert fastapi.FastAPI(title='whole').openapi()['info']['title'] == 'whole'\n"
        "from prometheus_client import REGISTRY, Counter, generate_latest\n"
        "from stylobate.telemetry import REGISTRY as ours\n"
        "assert REGISTRY is ours and b'process_resident_memory_bytes' in generate_latest()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & _LEFT_OUT
