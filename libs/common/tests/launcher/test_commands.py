"""Commands in a project where nothing runs: one clear line each, the exit codes that scripts rely on, and a quick start."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta

import pytest
import typer
from stylobate import __version__
from stylobate.launcher.cli import COMMANDS
from stylobate.launcher.commands import db, limits
from stylobate.launcher.commands.init import init
from stylobate.launcher.output import CommandError
from stylobate.launcher.standing import left_out
from stylobate.testing import commands


def test_init_makes_a_project_that_checks_out(project, stylobate) -> None:
    """The example is copied whole, its modules are fine, and a second `init` there is refused."""
    made = stylobate("init", "shop")
    assert made.returncode == 0, made.stderr
    folder = project.folder / "shop"
    assert {path.name for path in folder.iterdir()} >= {"modules", "README.md", ".gitignore"}
    assert (folder / "modules" / "shop" / "module.yaml").is_file()
    checked = stylobate("modules", "check", STYLOBATE_MODULES=str(folder / "modules"))
    assert (checked.returncode, checked.stdout.strip()) == (0, "the modules are fine")
    listed = stylobate("modules", "list", STYLOBATE_MODULES=str(folder / "modules"))
    assert "shop" in listed.stdout


def test_a_copy_of_the_example_is_tested_beside_it(project, stylobate) -> None:
    """Two modules with files of the same names are collected in one run, and the editor's schemas lie where the files say."""
    assert stylobate("init", "shop").returncode == 0
    modules = project.folder / "shop" / "modules"
    shutil.copytree(modules / "shop", modules / "kiosk")
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "modules"]
    done = subprocess.run(command, cwd=modules.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "modules/kiosk/tests/test_orders.py" in done.stdout
    for name in ("module", "actions", "states", "realtime"):
        first = (modules / "kiosk" / f"{name}.yaml").read_text().splitlines()[0]
        assert (modules / "kiosk" / first.partition("$schema=")[2]).is_file()


@pytest.mark.parametrize("way", [pytest.param("--python", marks=pytest.mark.soak), "--yaml"])
def test_a_new_module_works_and_has_a_test(project, stylobate, way) -> None:
    """Whatever its name; two of them stand beside each other."""
    assert stylobate("init", "shop").returncode == 0
    modules = project.folder / "shop" / "modules"
    names = ("my_items", "list", "item", "example", "pytest", "action")
    for name in names:
        made = stylobate("modules", "new", name, way, STYLOBATE_MODULES=str(modules))
        assert made.returncode == 0, made.stderr
        assert (modules / name / "actions.yaml").exists() is (way == "--yaml")
    checked = stylobate("modules", "check", STYLOBATE_MODULES=str(modules))
    assert (checked.returncode, checked.stdout.strip()) == (0, "the modules are fine")
    listed = stylobate("modules", "list", STYLOBATE_MODULES=str(modules), COLUMNS="400")
    assert "my_items.add, my_items.mine" in listed.stdout
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *(f"modules/{name}" for name in names)]
    done = subprocess.run(command, cwd=modules.parent, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 * len(names)} passed" in done.stdout
    for name in ("list", "Orders", "class", "1st", ""):
        refused = stylobate("modules", "new", name, way, STYLOBATE_MODULES=str(modules))
        assert refused.returncode == 2, refused.stdout
        assert len(refused.stderr.strip().splitlines()) == 1


def test_init_never_writes_where_something_is(project) -> None:
    """Neither into a folder with something in it nor over a file."""
    (project.folder / "file").write_text("mine")
    for place in (project.folder, project.folder / "file"):
        with pytest.raises(CommandError, match="is not"):
            init(place)
    assert [path.name for path in project.folder.iterdir()] == ["file"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there(stylobate, name) -> None:
    """Help names it, and it explains itself in the same words."""
    does = COMMANDS[name].split()[:5]
    for arguments in (("--help",), (name, "--help")):
        done = stylobate(*arguments, COLUMNS="200")
        assert done.returncode == 0, done.stderr
        assert " ".join(does) in done.stdout


def test_version_is_quick(project) -> None:
    """The version, and nothing of the platform is imported for it."""
    environ = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = commands.run("version", folder=project.folder, environ=environ, is_anew=True)
    assert done.stdout.strip() == __version__
    told = done.stderr
    for package in ("grpc", "fastapi", "uvicorn", "asyncpg", "stylobate.app"):
        assert f" {package}\n" not in told, package


def test_status_of_nothing(stylobate) -> None:
    """Exit 1; programs get JSON."""
    assert stylobate("status").returncode == 1
    said = stylobate("status", "--json")
    assert (said.returncode, json.loads(said.stdout)) == (1, {"running": False, "ready": False})


def test_down_and_reset_of_nothing_are_fine(stylobate) -> None:
    """There is nothing to do, and that is not an error."""
    for command in (("down",), ("reset", "--yes")):
        assert stylobate(*command).returncode == 0


def test_reset_removes_local_data_after_a_yes(project, stylobate) -> None:
    """Nothing is removed without one."""
    project.data.mkdir()
    (project.data / "data").write_text("mine")
    assert stylobate("reset", stdin="n\n").returncode != 0
    assert (project.data / "data").exists()
    assert stylobate("reset", stdin="y\n").returncode == 0
    assert not project.data.exists()


@pytest.mark.parametrize(
    ("command", "environ", "said"),
    [
        (("serve", "nothing"), {}, "there is no service named nothing; installed: "),
        (("serve", "ratelimit"), {"STYLOBATE_LISTEN": "127.0.0.1"}, "ratelimit.pem: "),
        (("users", "create", "a@example.com"), {}, "nothing is running here; `stylobate up` first"),
        (("logs",), {}, "there are no logs here yet"),
    ],
)
def test_what_cannot_be_done_is_one_line(stylobate, command, environ, said) -> None:
    """Exit 2, the reason on standard error, no traceback."""
    done = stylobate(*command, **environ)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]


def test_config_is_checked_and_explained(project, stylobate) -> None:
    """A bad value is named with exit 1; each value is shown with its origin, and passwords are not."""
    (project.folder / "modules").mkdir()
    assert stylobate("config", "check").returncode == 0
    bad = stylobate("config", "check", STYLOBATE_GATEWAY_MAX_BODY_BYTES="big", STYLOBATE_DRAIN_WAIT="soon")
    assert bad.returncode == 1
    assert "STYLOBATE_GATEWAY_MAX_BODY_BYTES" in bad.stdout
    assert "STYLOBATE_DRAIN_WAIT" in bad.stdout
    told = stylobate("config", "explain", STYLOBATE_DATABASE_URL="postgresql://me:hush@db/x", COLUMNS="300").stdout
    assert "environment STYLOBATE_DATABASE_URL" in told
    assert "hush" not in told
    own = stylobate("config", "explain", STYLOBATE_STATE_DATABASE_POOL_SIZE="3", COLUMNS="300").stdout
    assert re.search(r"^state +database_pool_size +3 +environment STYLOBATE_STATE_DATABASE_POOL_SIZE", own, re.MULTILINE)
    assert re.search(r"^\(all\) +redis_url +unix://\S+ +set by `stylobate up`", own, re.MULTILINE)


def test_modules_are_checked_with_file_and_line(project, stylobate) -> None:
    """Every finding at once, and exit 1 when one is an error."""
    folder = project.folder / "modules" / "bad"
    folder.mkdir(parents=True)
    (folder / "module.yaml").write_text("name: bad\nversion: '1'\nunknown: 1\n")
    (folder / "actions.yaml").write_text("actions:\n  bad.one:\n    handler: one\n    access: nobody knows\n")
    done = stylobate("modules", "check")
    assert done.returncode == 1
    assert "module.yaml:3" in done.stdout
    assert "actions.yaml:4" in done.stdout


def test_a_database_that_does_not_answer_is_one_line(project, monkeypatch) -> None:
    """`db status` does not wait without end; in a project whose own server does not run it says what would start it."""
    project.data.mkdir()
    with pytest.raises(CommandError, match="nothing is running here"):
        db.status()
    monkeypatch.setenv("STYLOBATE_DATABASE_URL", "postgresql://stylobate@127.0.0.1:1/x")
    with pytest.raises(CommandError, match=r"the database does not answer within 0.2 s"):
        db.show_pending(timedelta(milliseconds=200))


def test_migrations_are_applied(project, databases, monkeypatch, capsys) -> None:
    """`db status` exits 1 while something is pending; `db upgrade` applies it, service by service, once."""
    with asyncio.Runner() as runner:
        database = databases.empty()
        monkeypatch.setenv("STYLOBATE_DATABASE_URL", runner.run(database.__aenter__()))
        monkeypatch.setenv("STYLOBATE_DATABASE_ROLES", "false")
        try:
            for pending in (True, False):
                with pytest.raises(typer.Exit) as ended:
                    db.status()
                assert ended.value.exit_code == int(pending)
                capsys.readouterr()
                db.upgrade()
                assert ("applied" in capsys.readouterr().out) == pending
        finally:
            runner.run(database.__aexit__(None, None, None))


@pytest.mark.parametrize("split", [False, True])
def test_modules_that_are_left_out_are_gathered_from_every_process(split) -> None:
    """Each with its findings once; `status` then does not end with 0."""
    modules = {"left_out": {"lab": ["lab/module.py:3: does not import"]}, "strict": False}
    answer = (
        {"processes": {"one": {"modules": modules}, "two": {"modules": modules}, "three": {}}} if split else {"modules": modules}
    )
    assert left_out(answer) == {"lab": ["lab/module.py:3: does not import"]}
    assert left_out({"processes": {"three": {"modules": {"left_out": {}}}}}) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"request": "GET /", "header": ["x-plan=free"]}, "write `name: value`"),
        ({"request": "GET /", "ip": "300.1.1.1"}, "is not an address"),
        ({"request": "GET /", "channel": "orders:1"}, "or with --channel"),
        ({}, "or with --channel"),
    ],
)
def test_a_request_that_is_not_understood_is_not_explained(options, said) -> None:
    """Else the rules would be held against something that nobody asked about."""
    with pytest.raises(CommandError, match=said):
        limits.explain(**options)
