"""The admin port answers to its own names only, takes little, and lets nobody switch off what tells on them."""

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest
from stylobate.app.admin import AdminApplication
from stylobate.app.admin_listener import admin_listener
from stylobate.app.host import Host
from stylobate.app.listening import bind
from stylobate.http.own_host import is_local_host, is_own_host
from stylobate.launcher.merged_admin import MergedAdmin
from stylobate.logs import Logs, configure, get_logger, parse_levels
from stylobate.testing.logs import kept_logging
from stylobate.testing.plain_http import NO_TLS


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Leave the process's logging as other tests expect it."""
    with kept_logging():
        yield


OWN = [
    "localhost",
    "LOCALHOST:8081",
    "localhost.",
    "a.localhost",
    "127.0.0.1",
    "127.0.0.1:80",
    "[::1]",
    "[::1]:80",
    "10.1.2.3:80",
]
FOREIGN = [
    "evil.example",
    "evil.example:8081",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "1.2.3",
    "[::1].example",
    "a.b",
]


@pytest.mark.parametrize("host", OWN)
def test_own_hosts(host: str) -> None:
    """Loopback names and addresses are our own, in any case, with any port."""
    assert is_own_host(host)
    assert is_local_host(host)


@pytest.mark.parametrize("host", FOREIGN)
def test_foreign_hosts(host: str) -> None:
    """A name that somebody may own elsewhere is not, unless it was named."""
    assert not is_own_host(host)
    assert not is_local_host(host)
    assert is_own_host(host, [host.partition(":")[0]]) or host.startswith("[")


def test_a_name_without_a_dot_is_nobodys_elsewhere() -> None:
    """In development it passes; at the admin port it must be named."""
    assert is_local_host("gateway:8080")
    assert not is_own_host("gateway:8080")
    assert not is_local_host("a" * 300)


Ask = Callable[..., httpx.Response]


@pytest.fixture(params=["one process", "several processes"])
async def admin(request, server_run, tmp_path) -> tuple[httpx.AsyncClient, Logs]:
    """Give a client of an admin port on TCP: a process's own, and the launcher's over the processes' sockets."""
    logs = configure(level="info", json=True, file=tmp_path / "log")

    class NoHost(Host):
        def __init__(self) -> None:
            pass

    application = AdminApplication(NoHost(), logs)
    inner = admin_listener(application, bind(f"unix:{server_run}/one"), grace_s=1)
    await inner.start()
    merged = MergedAdmin({"one": f"{server_run}/one"})
    bound = bind("127.0.0.1:0")
    outer = admin_listener(application if request.param == "one process" else merged, bound, hosts=("named.example",), grace_s=1)
    await outer.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{bound.getsockname()[1]}", timeout=20, verify=NO_TLS) as client:
        yield client, logs
    await outer.stop()
    await inner.stop()
    logs.close()


async def test_dns_rebinding_finds_nothing(admin) -> None:
    """Asked under a stranger's name it refuses every path and method; under its own it answers."""
    client, logs = admin
    for host in FOREIGN[:2]:
        for method, path in (("GET", "/healthz"), ("GET", "/metrics"), ("GET", "/log-levels"), ("PUT", "/log-levels")):
            answer = await client.request(method, path, headers={"host": host}, json={"access": "error"})
            assert (answer.status_code, answer.json()["code"]) == (403, "HOST_REFUSED")
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert logs.levels()["access"] == "INFO"
    for host in ("localhost:8081", "named.example", "Named.Example:80"):
        assert (await client.get("/healthz", headers={"host": host})).status_code == 200


async def test_a_body_is_small(admin) -> None:
    """Over 4 KiB is refused, announced or not, before it is looked at."""
    client, _ = admin

    async def pieces():
        for _ in range(100):
            yield b" " * 1024

    for content in (b" " * 5000, pieces()):
        answer = await client.put("/log-levels", content=content)
        assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


@pytest.mark.parametrize("concern", ["security", "audit"])
@pytest.mark.parametrize("level", ["error", "critical", "CRITICAL"])
async def test_warnings_of_security_and_audit_stay(admin, concern, level) -> None:
    """No request hides them, and nothing of such a request is carried out."""
    client, logs = admin
    before = logs.levels()
    answer = await client.put("/log-levels", json={"access": "debug", concern: level})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert concern in answer.json()["detail"]
    assert logs.levels() == before
    with pytest.raises(ValueError, match=concern):
        parse_levels(f"info,{concern}={level}")


async def test_a_level_for_all_leaves_them_at_warning() -> None:
    """`error` for everything is taken as far as it may be."""
    assert parse_levels("critical") == {"app": "critical", "access": "critical", "audit": "warning", "security": "warning"}


async def test_a_change_is_told_before_it_holds(admin, tmp_path) -> None:
    """The line says who asked, and is written although the change would hide it."""
    client, logs = admin
    answer = await client.put("/log-levels", json={"security": "warning", "app": "critical"})
    assert answer.status_code == 200
    get_logger("security").warning("after")
    await asyncio.to_thread(logs.close)
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if "log_levels_changed" in line]
    assert len(lines) == 1
    assert "127.0.0.1:" in lines[0]
    assert '"critical"' in lines[0]
