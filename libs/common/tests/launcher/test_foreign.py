"""The environment and the folder may be anybody's: the platform starts, or says in one line why it cannot."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.launcher.embedded.folders import run_folder
from stylobate.launcher.foreign import set_aside, set_aside_libpq, stay_on_this_machine
from stylobate.testing import commands
from stylobate.testing.platform import Platform

FOREIGN = {
    "OTEL_PROPAGATORS": "b3",
    "OTEL_TRACES_SAMPLER": "no_such_sampler",
    "PGSSLMODE": "require",
    "PGHOST": "192.0.2.1",
    "PGTARGETSESSIONATTRS": "any",
    "PGPASSFILE": "/no/such/file",
    "PROMETHEUS_MULTIPROC_DIR": "/no/such/folder",
    "STYLOBATE_REDIS_URL": "",
    "STYLOBATE_DATABASE_URL": "",
    "HTTP_PROXY": "http://192.0.2.1:3128",
    "http_proxy": "http://192.0.2.1:3128",
    "ALL_PROXY": "socks5://192.0.2.1:1080",
    "SSL_CERT_FILE": "/no/such/file",
    "LC_ALL": "C",
    "PYTHONIOENCODING": "latin-1",
    "TZ": "America/St_Johns",
}


def test_any_folder_is_as_good_as_another(tmp_path) -> None:
    """A project in one with every special character and a long name starts, with its temporary folder in it too, and works."""
    place = tmp_path / ('-grün a:b,c 100% it\'s "q" 🐘 $x [x] {y}\t?&#' + "d" * 190)
    (place / "tmp").mkdir(parents=True)
    with Platform.run(place, environ={"TMPDIR": str(place / "tmp")}, is_anew=True) as platform:
        assert platform.status()["ready"]
        assert platform.interrupt() == 0


def test_what_is_meant_for_other_programs_changes_nothing(tmp_path, shop) -> None:
    """Proxies, libpq's and telemetry's variables, empty settings, an old terminal: `up` starts and the demo passes."""
    with Platform.run(tmp_path, modules=[shop], environ=FOREIGN, is_anew=True) as platform:
        said = platform.output.read_text(encoding="latin-1")
        (warning, *more) = [line for line in said.splitlines() if "ignored from the environment" in line]
        assert "OTEL_PROPAGATORS" in warning + "".join(more)
        demo = platform.command("demo")
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert platform.command("db", "status").returncode == 0
        platform.wait_healthy(timedelta(seconds=30))


def test_only_what_breaks_us_is_taken_away() -> None:
    """Everything else of the environment stays for the modules."""
    environ = dict(FOREIGN) | {"OTEL_RESOURCE_ATTRIBUTES": "team=a", "PATH": "/bin"}
    assert set_aside(environ) == ["OTEL_PROPAGATORS", "PROMETHEUS_MULTIPROC_DIR"]
    assert "HTTP_PROXY" in environ
    assert set(set_aside_libpq(environ)) == {"PGSSLMODE", "PGHOST", "PGTARGETSESSIONATTRS", "PGPASSFILE"}
    stay_on_this_machine(environ)
    assert not {"HTTP_PROXY", "http_proxy", "ALL_PROXY", "SSL_CERT_FILE"} & set(environ)
    assert {"OTEL_RESOURCE_ATTRIBUTES", "PATH"} <= set(environ)


def test_sockets_stand_where_an_address_can_name_them(tmp_path, monkeypatch) -> None:
    """A temporary folder with a long or special name is not used for them."""
    for name in ("grün", "a b", "a:b", "x" * 80):
        (tmp_path / name).mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / name))
        folder = run_folder(tmp_path)
        assert folder.parent == Path("/tmp")
        folder.rmdir()


@pytest.mark.parametrize("command", ["up", "init", "config check", "status"])
@pytest.mark.parametrize("kind", ["read-only", "a file in the way"])
def test_a_folder_that_cannot_be_used_is_one_line(tmp_path, command, kind) -> None:
    """Somebody else's folder, or one with a file where a folder should be: no traceback."""
    place = tmp_path / "project"
    (place / "modules").mkdir(parents=True)
    if kind == "read-only":
        place.chmod(0o555)
        as_other: list[str] = []
        if os.getuid() == 0:  # root writes anywhere
            as_other = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
            for parent in place.parents:
                if parent.is_relative_to(Path("/tmp")) and parent != Path("/tmp"):
                    parent.chmod(0o755)
        done = _said(*command.split(), cwd=place, before=as_other)
    else:
        (place / ".stylobate").write_text("in the way")
        done = commands.run(*command.split(), folder=place, environ=_own_environ())
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    if command == "up":
        assert done.returncode == 2
        assert done.stderr.startswith("error: "), done.stderr


def _own_environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("STYLOBATE_")}


def _said(*command: str, cwd: Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Run a command there; return what it said."""
    arguments = [*before, *commands.ANEW, *command]
    return subprocess.run(arguments, cwd=cwd, env=_own_environ(), capture_output=True, text=True, timeout=60, check=False)


def _is_one_line(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.fixture
def gone(tmp_path) -> Iterator[Path]:
    """Give a way into a folder that was removed, as long as the test stands in it."""
    place = tmp_path / "gone"
    place.mkdir()
    opened = os.open(place, os.O_RDONLY)
    place.rmdir()
    yield Path(f"/proc/{os.getpid()}/fd/{opened}")
    os.close(opened)


COMMANDS = ["up", "status", "down", "logs", "init x", "config check", "reset", "restart", "demo"]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="a folder of Linux")
@pytest.mark.parametrize(("command", "is_anew"), [("up", True), *((command, False) for command in COMMANDS)])
def test_a_folder_that_is_gone_is_one_line(gone, command, is_anew) -> None:
    """The shell stands in a folder that somebody removed: each command says so, and Python is begun there."""
    done = commands.run(*command.split(), folder=gone, environ=_own_environ(), is_anew=is_anew)
    assert _is_one_line(done), done.stderr
    assert "is gone" in done.stderr


@pytest.mark.parametrize("place", ["a" * 300, "loop/project", "file/project", "/proc/project", "/dev/null/project"])
def test_a_place_where_nothing_can_be_made_is_one_line(tmp_path, place) -> None:
    """Names that are too long, links in a circle, a file on the way, a file system that takes nothing."""
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    done = commands.run("init", place, folder=tmp_path, environ=_own_environ())
    assert _is_one_line(done), done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize(("command", "is_anew"), [("version", True), ("version", False), ("reset", False), ("status", False)])
def test_an_output_that_is_full_is_one_line(tmp_path, command, is_anew) -> None:
    """What goes to a file on a full disk is not lost without a word, nor with a traceback."""
    with Path("/dev/full").open("wb") as full, (tmp_path / "errors").open("w+b") as errors, Path("/dev/null").open("rb") as given:
        streams = (given, full, errors)
        started = commands.start(command, folder=tmp_path, environ=_own_environ(), streams=streams, is_anew=is_anew)
        code = started.wait(60)
    said = (tmp_path / "errors").read_text()
    assert (code, said.count("\n"), said[:7]) == (2, 1, "error: "), said
    assert "No space left" in said


def test_a_project_that_cannot_be_written_is_one_line(tmp_path) -> None:
    """Where each file fails by itself, as on a full disk, the first is named; made with a limit on the size of files."""
    script = f"ulimit -f 0 && exec {sys.executable} -m stylobate.launcher init project"
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert _is_one_line(done), done.stderr
    assert "File too large" in done.stderr
