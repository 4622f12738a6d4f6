"""`up --detach` to `down`: one project in the background, seen and stopped from other shells."""

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from urllib.parse import urlsplit

import grpc
import httpx
import psutil
import pytest
from stylobate.api.auth.v1.token_service_pb2 import WatchRevocationsRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.launcher.project import Project
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

ONCE = {"idempotency-key": "once"}
UPGRADE = (
    b"GET /v1/realtime HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.fixture
def detached(project: Project, stylobate) -> Iterator[str]:
    """Run a platform without modules in the background; give what `up` said."""
    (project.folder / "modules").mkdir()
    try:
        done = stylobate("up", "--detach", "--port", str(free_ports()))
        assert done.returncode == 0, done.stdout + done.stderr
        yield done.stdout
    finally:
        stylobate("down")


def hold_open(running, project: Project, stack: ExitStack) -> None:
    """Open what a client may hold open forever: an idle connection, half a request, a socket, a stream over gRPC."""
    address = urlsplit(running.endpoints["gateway"])
    for sent in (b"", b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{", UPGRADE):
        connection = stack.enter_context(socket.create_connection((address.hostname, address.port)))
        connection.settimeout(10)
        connection.sendall(sent)
        if sent is UPGRADE:
            assert b" 101 " in connection.recv(1000)
    token = ServiceIdentity.load("gateway", project.identity / "gateway.pem", project.identity).token("auth")
    channel = stack.enter_context(grpc.insecure_channel(running.endpoints["grpc"]))
    metadata = (("stylobate-service-token", token), ("stylobate-own-name", "true"))
    stream = TokenServiceStub(channel).WatchRevocations(WatchRevocationsRequest(), metadata=metadata)
    next(stream)


def become_administrator(project: Project, stylobate, said: str, gateway: str) -> None:
    """Use the link that was printed, once: it stands in no file, the next one ends it, and there is none afterwards."""
    (first,) = re.findall(rf"{gateway}/first-admin#(\S+)", said)
    assert not [file for file in project.logs.iterdir() if first in file.read_text(encoding="utf-8", errors="replace")]
    (second,) = re.findall(rf"{gateway}/first-admin#(\S+)", stylobate("users", "invite-admin").stdout)
    with httpx.Client(base_url=gateway, verify=NO_TLS, timeout=30) as http:
        assert "<form>" in http.get("/first-admin").text
        assert "/v1/auth/first-admin" in http.get("/first-admin/send.js").text
        body = {"email": "root@example.com", "password": "correct horse battery"}
        answers = [
            http.post("/v1/auth/first-admin", json={"token": token, **body}, headers=headers)
            for token, headers in ((first, {}), (second, ONCE), (second, ONCE), (second, {}))
        ]
    assert [answer.status_code for answer in answers] == [422, 201, 201, 422]
    assert answers[1].json()["user"]["roles"] == ["admin", "user"]
    assert (answers[2].content, answers[2].headers["idempotency-replayed"]) == (answers[1].content, "true")
    assert answers[3].json()["code"] == "AUTH_INVITATION_INVALID"
    refused = stylobate("users", "invite-admin")
    assert (refused.returncode, refused.stderr) == (2, "error: There is an administrator already.\n")


EAGER = """
import asyncio
from stylobate.modules import BaseModule

print("see it: ready")

class EagerModule(BaseModule):
    async def initialize(self) -> None:
        await asyncio.sleep(1)
"""


def test_it_is_ready_when_it_returns_whatever_is_printed(project, stylobate) -> None:
    """A module that takes its time, and prints what `up` prints at last, does not make it return early."""
    folder = project.folder / "modules" / "eager"
    folder.mkdir(parents=True)
    (folder / "module.yaml").write_text("name: eager\nversion: '1'\ndescription: Prints early\n")
    (folder / "module.py").write_text(EAGER)
    try:
        done = stylobate("up", "--detach", "--port", str(free_ports()))
        assert done.returncode == 0, done.stdout + done.stderr
        said = json.loads(stylobate("status", "--json").stdout)
        assert said["ready"], said
        assert f"{project.running().endpoints['admin']}" in done.stdout
    finally:
        stylobate("down")


def test_a_supervisor_that_hangs_is_ended_though_a_script_started_it(project, stylobate) -> None:
    """It leads no group of its own, and does not answer the signal: `down` says `stopped`, and nothing is left."""
    (project.folder / "modules").mkdir()
    with (project.folder / "out").open("wb") as out:
        script = subprocess.Popen(
            [sys.executable, "-m", "stylobate.launcher", "up", "--port", str(free_ports())],
            cwd=project.folder,
            stdout=out,
            stderr=out,
        )
    try:
        assert wait_until(lambda: (found := project.running()) is not None and found.is_ready, timedelta(seconds=60))
        children = project.running().children
        assert children
        script.send_signal(signal.SIGSTOP)
        down = stylobate("down")
        assert (down.returncode, down.stdout, down.stderr) == (0, "stopped\n", "")
        assert script.wait(30) == -signal.SIGKILL
        assert not [child.name for child in children if child.is_running]
        assert project.running() is None
    finally:
        script.kill()
        script.wait(30)


def test_a_platform_in_the_background(project, stylobate, detached) -> None:
    """It says where it is, is started once only, answers other commands, and ends whoever holds on to it."""
    assert "see it:" in detached
    running = project.running()
    assert stylobate("up", "--detach").stderr.startswith("error: this project is running already at ")
    assert stylobate("reset", "--yes").returncode == 2
    said = json.loads(stylobate("status", "--json").stdout)
    assert (said["ready"], said["endpoints"]) == (True, running.endpoints)
    shown = stylobate("status")
    assert (shown.returncode, running.endpoints["gateway"] in shown.stdout) == (0, True)
    created = stylobate("users", "create", "ada@example.com", "--password-stdin", stdin="correct horse battery\n")
    assert created.returncode == 0, created.stderr
    (account,) = re.findall(r"\(([0-9a-f-]{36})\)", created.stdout)
    changed = stylobate("users", "set-password", account, "--password-stdin", stdin="another horse and battery\n")
    assert changed.returncode == 0, changed.stderr
    assert stylobate("users", "set-email", account, "ada@example.org").returncode == 0
    assert stylobate("users", "rename", account, "Ada Lovelace").returncode == 0
    told = stylobate("users", "show", account).stdout
    assert ("ada@example.org (proven)" in told, "Ada Lovelace" in told) == (True, True)
    become_administrator(project, stylobate, detached, running.endpoints["gateway"])
    assert stylobate("db", "status").returncode == 0
    assert "platform" in stylobate("logs", "-n", "5").stdout

    processes = [record.process() for record in (running.supervisor, *running.children)]
    with ExitStack() as stack:
        hold_open(running, project, stack)
        running.supervisor.process().terminate()
        assert wait_until(lambda: not running.supervisor.is_running, timedelta(seconds=60))
    assert not [process for process in processes if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    down = stylobate("down")
    assert (down.returncode, stylobate("status").returncode) == (0, 1)
