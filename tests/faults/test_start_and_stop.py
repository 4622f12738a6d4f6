"""What goes wrong around `up` itself: Ctrl-C, a killed supervisor, leftovers, a second `up`, things that cannot be."""

import os
import signal
import socket
from datetime import timedelta

import psutil
import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.conftest import SHOP
from tests.faults.traffic import play
from tests.people import Person


@pytest.fixture
def project(tmp_path):
    """Give a project that does not run yet, and stop what a test started in it."""
    platform = Platform(tmp_path, modules=[SHOP])
    yield platform
    platform.stop()


def assert_one_clear_line(text: str, *words: str) -> None:
    """Hold an error's output: one line that names what is meant, no traceback."""
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    for word in words:
        assert word in lines[0], text


@pytest.mark.parametrize("arguments", [(), ("--split",)], ids=["one process", "split"])
def test_ctrl_c_stops_everything(tmp_path, arguments):
    """Ctrl-C ends the platform with exit code 0, in the middle of requests, and leaves no process behind."""
    with Platform.run(tmp_path, *arguments, modules=[SHOP], is_anew=True) as platform:
        processes = platform.processes()
        assert len(processes) >= (9 if arguments else 3)
        with Person(platform.gateway) as ada:
            ada.register().order()
            assert platform.interrupt() == 0, platform.log_tails()
        assert psutil.wait_procs(processes, timeout=0)[1] == []
        assert "stopped" in platform.output.read_text()
        assert platform.project.running() is None


async def test_second_up_clears_what_a_killed_one_left(project):
    """After `kill -9` of the supervisor, `up` on the same port stops what hangs there still, keeps the data and works."""
    project.arguments = ("--split",)
    project.start()
    port = int(project.gateway.rpartition(":")[2])
    with Person(project.gateway) as ada:
        order = ada.register().order()
    left = project.children
    for name in ("gateway", "valkey"):
        os.kill(left[name].pid, signal.SIGSTOP)  # hangs: what ends the others with their supervisor does not end it
    project.kill_supervisor()
    assert left["gateway"].is_running
    assert left["valkey"].is_running

    project.launch(port)
    assert project.is_ready(within=timedelta(seconds=60)), project.log_tails()
    project.wait_healthy(timedelta(seconds=60))
    assert not any(child.is_running for child in left.values())
    assert "stopping gateway, left behind by an earlier run" in project.output.read_text()
    with Person(project.gateway) as again:
        again.email = ada.email
        assert again.login().http.get(f"/v1/state/orders/{order}").json()["version"] == 1
    await play(project)


def test_children_do_not_outlive_a_killed_supervisor(project):
    """Where the system can (Linux), children end when their supervisor is killed, and `down` afterwards finds it so."""
    project.start()
    left = list(project.children.values())
    project.kill_supervisor()
    assert wait_until(lambda: not any(child.is_running for child in left), timedelta(seconds=10))
    assert project.command("status").returncode == 1
    done = project.command("down")
    assert (done.returncode, done.stderr) == (0, "")


def test_second_up_is_refused(project):
    """A project runs once: the second `up` says where the first one is, and harms nothing."""
    project.start()
    second = project.command("up", "--port", str(free_ports()))
    assert second.returncode == 2
    assert_one_clear_line(second.stderr, project.gateway, str(project.pid))
    reset = project.command("reset", "--yes")
    assert reset.returncode == 2
    assert_one_clear_line(reset.stderr, "down")
    assert project.status()["ready"]
    assert project.command("down").returncode == 0
    assert wait_until(lambda: not project.is_running, timedelta(seconds=30))


@pytest.mark.parametrize(("mode", "offset"), [((), 0), ((), 1), ((), 2), (("--split",), 2), (("--split",), 5)])
def test_port_in_use_is_one_line(project, mode, offset):
    """Whoever holds one of the ports is not disturbed; `up` names the address and leaves nothing running."""
    first = free_ports()
    with socket.socket() as other:
        other.bind(("127.0.0.1", first + offset))
        other.listen()
        done = project.command("up", *mode, "--port", str(first))
    assert done.returncode == 2, done.stdout + done.stderr
    assert_one_clear_line(done.stderr, f"127.0.0.1:{first + offset}", "in use")
    assert project.processes() == []


def test_missing_modules_are_one_line(project, tmp_path):
    """Without a folder of modules, or with one that is not there, `up` says so."""
    (tmp_path / "modules" / "shop").unlink()
    (tmp_path / "modules").rmdir()
    done = project.command("up", "--port", str(free_ports()))
    assert done.returncode == 2
    assert_one_clear_line(done.stderr, "modules", "init")


@pytest.mark.parametrize("mode", [(), ("--split",)], ids=["one process", "split"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STYLOBATE_LOG_LEVEL", "loud"),
        ("STYLOBATE_AUTH_REGISTRATION", "everybody"),
        ("STYLOBATE_GATEWAY_MAX_BODY_BYTES", "many"),
        ("STYLOBATE_MODULES", "/nowhere/at/all"),
    ],
)
def test_bad_setting_is_one_line(tmp_path, mode, name, value):
    """A setting that cannot be used stops `up` with its name, in every placement."""
    project = Platform(tmp_path, modules=[SHOP], environ={name: value})
    done = project.command("up", *mode, "--port", str(free_ports()))
    assert done.returncode == 2, done.stdout + done.stderr
    assert_one_clear_line(done.stderr, name if name != "STYLOBATE_MODULES" else value)
    assert project.processes() == []


@pytest.mark.parametrize("command", [("demo",), ("users", "create", "a@example.com", "--password-stdin"), ("status",)])
def test_commands_without_a_platform_say_so(project, command):
    """Commands that need a running platform exit non-zero with one line that says what to do."""
    done = project.command(*command, stdin="a password\n")
    assert done.returncode != 0
    assert "stylobate up" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_init_refuses_a_folder_with_something_in_it(project):
    """`init` never writes into a folder that has something in it."""
    done = project.command("init", ".")
    assert done.returncode == 2
    assert_one_clear_line(done.stderr, "not empty")


def test_a_start_that_waits_says_so(tmp_path):
    """With a database of one's own that does not answer, `up` names who knows more, and ends at Ctrl-C; the log names it."""
    url = f"postgresql://nobody@127.0.0.1:{free_ports(1)}/x"
    platform = Platform(tmp_path, "--split", modules=[SHOP], environ={"STYLOBATE_DATABASE_URL": url})
    try:
        platform.launch(free_ports())
        within = timedelta(seconds=90)
        assert wait_until(lambda: "stylobate logs" in platform.output.read_text(), within), platform.log_tails()
        assert wait_until(lambda: "/x for migrations of state" in platform.command("logs").stdout, within), platform.log_tails()
        assert platform.interrupt() == 0, platform.log_tails()
    finally:
        platform.stop()


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("redis", ()),
        ("redis", ("--split",)),
        ("database", ("--split",)),
        ("database", ("--workers", "2")),
        ("database", ("--detach",)),
    ],
)
def test_a_server_that_lets_nobody_in_ends_the_start(tmp_path, redis_url, postgres_url, arguments, kind):
    """With a server of one's own and a wrong name `up` ends, and names the setting and what the server said."""
    if kind == "redis":
        environ = {"STYLOBATE_REDIS_URL": redis_url.replace("unix://", "unix://stranger:wrong@")}
    else:
        environ = {"STYLOBATE_DATABASE_URL": postgres_url.replace("stylobate@", "stranger@")}
    platform = Platform(tmp_path, *arguments, modules=[SHOP], environ=environ)
    try:
        platform.launch(free_ports())
        assert wait_until(lambda: not platform.is_running, timedelta(seconds=120)), platform.log_tails()
        said = [line for line in platform.output.read_text().splitlines() if line.startswith("error: ")]
        (setting,) = environ
        assert setting in said[0]
        assert "stranger" in said[0] or "WRONGPASS" in said[0]
        assert "Traceback" not in platform.output.read_text()
    finally:
        platform.stop()
