"""How a process starts and stops: order, failures half-way, cancellation, readiness."""

import asyncio
import socket
from contextlib import asynccontextmanager, suppress

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.app.listening import PortInUseError
from stylobate.config import ConfigError
from stylobate.declarations.model import Finding
from stylobate.health import Health, Status
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until


@asynccontextmanager
async def part(name: str, told: list[str]):
    """Note when it is opened and closed."""
    told.append(f"open {name}")
    try:
        yield name
    finally:
        told.append(f"close {name}")


async def test_parts_close_in_reverse_and_work_ends_first(hosts, auth, probe) -> None:
    """What uses a part has ended before the part is closed."""
    told: list[str] = []

    async def build(app, _settings) -> None:
        await app.enter(part("one", told))
        await app.enter(part("two", told))
        running = asyncio.Event()

        async def work() -> None:
            try:
                running.set()
                await asyncio.Event().wait()
            finally:
                told.append("end work")

        app.task("work", work)
        await running.wait()

    async with hosts.open(auth, probe(build)) as host:
        assert host.is_ready
    assert told == ["open one", "open two", "end work", "close two", "close one"]


async def test_a_start_that_fails_half_way_closes_what_it_opened(hosts, auth, probe) -> None:
    """The other services stop too, the error comes out, and the addresses are free again."""
    told: list[str] = []

    async def build(app, _settings) -> None:
        await app.enter(part("one", told))
        raise ConfigError(["STYLOBATE_PROBE_SIZE: too large"])

    for _ in range(2):
        with pytest.raises(ExceptionGroup) as caught:
            async with hosts.open(auth, probe(build)):
                pytest.fail("it must not start")
        assert caught.group_contains(ConfigError, match="too large")
    assert told == ["open one", "close one"] * 2
    assert not hosts.admin.exists()


async def test_a_build_that_is_cancelled_closes_what_it_opened(hosts, auth, probe) -> None:
    """A signal during a start that waits for something ends it at once."""
    told: list[str] = []
    waiting = asyncio.Event()

    async def build(app, _settings) -> None:
        await app.enter(part("one", told))
        waiting.set()
        await asyncio.Event().wait()

    async def run() -> None:
        async with hosts.open(auth, probe(build)):
            pytest.fail("it must not start")

    running = asyncio.create_task(run())
    await waiting.wait()
    answer = await hosts.ask("/readyz")
    assert (answer.status_code, answer.json()["phase"]) == (503, "starting")
    assert (await hosts.ask("/healthz")).status_code == 200
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert told == ["open one", "close one"]


async def test_a_part_that_fails_to_close_keeps_no_other_open(hosts, auth, probe) -> None:
    """An error at the end is told, and everything else is closed all the same."""
    told: list[str] = []

    @asynccontextmanager
    async def broken():
        yield
        raise RuntimeError("cannot close")

    async def build(app, _settings) -> None:
        await app.enter(part("one", told))
        await app.enter(broken())

    with pytest.raises(RuntimeError, match="cannot close"):
        async with hosts.open(auth, probe(build)):
            pass
    assert told[-1] == "close one"
    async with hosts.open(auth):
        pass


async def test_a_second_wish_to_stop_still_closes_everything(hosts, auth, probe) -> None:
    """Cancelled while it waits for balancers, a process stops waiting, and closes."""
    told: list[str] = []
    draining = asyncio.Event()

    async def build(app, _settings) -> None:
        await app.enter(part("one", told))

    async def run() -> None:
        async with hosts.open(auth, probe(build), environ={"STYLOBATE_DRAIN_WAIT": "1h"}):
            draining.set()

    running = asyncio.create_task(run())
    await draining.wait()
    answer = await until(lambda: hosts.ask("/readyz"), lambda answer: answer.json()["phase"] == "draining")
    assert answer.status_code == 503
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert told == ["open one", "close one"]
    assert not hosts.admin.exists()


async def test_requests_under_way_are_finished(hosts, auth, probe) -> None:
    """A stop lets an answer that has begun come to its end, and takes no new connection."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(_scope, _receive, send) -> None:
        asked.set()
        await may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    async def build(app, _settings) -> None:
        app.http(slow)

    address = f"127.0.0.1:{free_ports(1)}"
    async with httpx.AsyncClient(verify=NO_TLS) as client:
        async with hosts.open(auth, probe(build), http=address):
            answer = asyncio.create_task(client.get(f"http://{address}/"))
            await asked.wait()
            asyncio.get_running_loop().call_later(0.05, may_answer.set)
        assert (await answer).text == "done"
        with pytest.raises(httpx.ConnectError):
            await client.get(f"http://{address}/")


async def test_an_address_in_use_is_said(hosts, auth) -> None:
    """The start fails with the address, and everything is closed again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(PortInUseError, match=f"{address} is in use"):
            async with hosts.open(auth, http=address):
                pytest.fail("it must not start")
        with pytest.raises(Exception, match=f"cannot listen on {address}"):
            async with hosts.open(auth, grpc=(address,)):
                pytest.fail("it must not start")
    assert not hosts.admin.exists()


async def test_readiness_does_not_wait_for_what_hangs(hosts, auth, probe) -> None:
    """A check that hangs or raises is named and makes the service degraded; the process stays ready, and answers in time."""

    async def hangs() -> Health:
        await asyncio.Event().wait()
        return Health()

    async def raises() -> Health:
        raise RuntimeError("lost")

    async def build(app, _settings) -> None:
        app.check("hangs", hangs)
        app.check("raises", raises)
        app.check("well", lambda: asyncio.sleep(0, Health()))

    async with hosts.open(auth, probe(build)):
        answer = await hosts.ask("/readyz")
        found = answer.json()
        assert (answer.status_code, found["status"]) == (200, "degraded")
        parts = found["services"]["probe"]["dependencies"]
        assert parts["hangs"]["details"].startswith("does not say")
        assert parts["raises"]["details"] == "RuntimeError: lost"
        assert parts["well"]["status"] == "healthy"


async def test_readiness_waits_for_what_must_have_been_done_once(hosts, auth, probe) -> None:
    """`ready_when` holds readiness back, not the listeners."""
    may = asyncio.Event()
    ready = asyncio.Event()

    async def begun() -> None:
        await may.wait()

    async def build(app, _settings) -> None:
        app.ready_when(begun)

    async def run() -> None:
        async with hosts.open(auth, probe(build)):
            ready.set()
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        running = group.create_task(run())
        await until(hosts.admin.exists)
        assert (await hosts.ask("/readyz")).status_code == 503
        may.set()
        await ready.wait()
        assert (await hosts.ask("/readyz")).status_code == 200
        running.cancel()


async def test_admin_answers_operators(hosts, auth) -> None:
    """Metrics in Prometheus' form; log levels all together or not at all; anything else is 404."""
    async with hosts.open(auth):
        metrics = await hosts.ask("/metrics")
        assert metrics.headers["content-type"].startswith("text/plain; version=")
        assert "# TYPE" in metrics.text
        assert (await hosts.ask("/nothing")).status_code == 404
        for levels in ({"access": "loud"}, {"nobody": "info"}, ["info"], {"access": 3}):
            refused = await hosts.ask("/log-levels", "PUT", json=levels)
            assert (refused.status_code, refused.json()["code"]) == (422, "INVALID_INPUT")
        assert (await hosts.ask("/log-levels", "PUT", content=b"{")).status_code == 422
        for level in ("warning", "WARNING"):
            assert (await hosts.ask("/log-levels", "PUT", json={"access": level})).status_code == 200


async def test_a_missing_address_is_a_setting(hosts, probe) -> None:
    """A process without auth that was not told where auth is says which setting is missing."""

    async def build(_app, _settings) -> None: ...

    with pytest.raises(ConfigError, match="STYLOBATE_AUTH_ADDRESS: missing"):
        async with hosts.open(probe(build)):
            pytest.fail("it must not start")


async def test_details_of_a_service_that_does_not_start_are_shown(hosts, auth, probe) -> None:
    """While it is built, status says that it is starting, not that it is well."""
    waiting, may = asyncio.Event(), asyncio.Event()

    async def build(_app, _settings) -> None:
        waiting.set()
        await may.wait()

    async def run() -> None:
        async with hosts.open(auth, probe(build)) as host:
            assert (await host.status())["status"] == Status.HEALTHY

    running = asyncio.create_task(run())
    await waiting.wait()
    found = (await hosts.ask("/status")).json()
    assert (found["status"], found["ready"]) == ("unhealthy", False)
    assert found["services"]["probe"]["details"] == "starting"
    may.set()
    await running


async def module_left_out_by_its_code(app, _settings) -> None:
    """Do as the actions service does with a module whose code is at fault."""
    app.leave_out("lab", [Finding("modules/lab/module.py", 3, "does not import")])


@pytest.mark.parametrize(
    ("environ", "is_ready"),
    [
        ({}, True),
        ({"STYLOBATE_MODULES_STRICT": "true"}, False),
        ({"STYLOBATE_ENVIRONMENT": "staging"}, False),
        ({"STYLOBATE_ENVIRONMENT": "production"}, False),
        ({"STYLOBATE_ENVIRONMENT": "production", "STYLOBATE_MODULES_STRICT": "false"}, True),
    ],
)
@pytest.mark.parametrize("fault", ["declarations", "code", "no module.yaml", "no such folder"])
async def test_a_module_left_out_is_named_and_holds_back_readiness_where_modules_are_strict(
    hosts, auth, probe, tmp_path, fault, environ, is_ready
) -> None:
    """Whatever is wrong with it, and whoever finds it; strict is everywhere but in development, unless a setting says so."""
    folder = tmp_path / "modules"
    (folder / "lab").mkdir(parents=True)
    (folder / "well").mkdir()
    (folder / "well" / "module.yaml").write_text("name: well\n")
    (folder / "lab" / "module.yaml").write_text("name: lab\n")
    name, finding = "lab", "modules/lab/module.py:3: does not import"
    if fault == "declarations":
        (folder / "lab" / "module.yaml").write_text("name: lab\ncolour: red\n")
        finding = f"{folder}/lab/module.yaml:2: unknown key `colour` in module.yaml"
    elif fault == "no module.yaml":
        (folder / "lab" / "module.yaml").rename(folder / "lab" / "actions.yaml")
        finding = f"{folder}/lab/module.yaml: missing; every module has one"
    elif fault == "no such folder":
        folder = name = f"{tmp_path}/nowhere"
        finding = f"{name}: no such folder; `modules` names it"

    async def build(app, settings) -> None:
        if fault == "code":
            await module_left_out_by_its_code(app, settings)

    async with hosts.open(auth, probe(build), environ={"STYLOBATE_MODULES": str(folder), **environ}) as host:
        status = await host.status()
        assert status["modules"]["left_out"] == {name: [finding]}
        assert (host.is_ready, status["ready"], status["status"]) == (is_ready, is_ready, "degraded")
        async with httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(hosts.admin), verify=NO_TLS), base_url="http://admin"
        ) as admin:
            assert (await admin.get("/readyz")).status_code == (200 if is_ready else 503)


async def test_grpc_health_follows_readiness(hosts, auth, probe, server_run) -> None:
    """NOT_SERVING while a part is not ready yet, SERVING, and NOT_SERVING again as soon as the process drains; calls go on."""
    address = f"unix:{server_run}/grpc"
    may_start, may_stop = asyncio.Event(), asyncio.Event()

    async def build(app, _settings) -> None:
        app.ready_when(may_start.wait)

    async def live() -> None:
        async with hosts.open(auth, probe(build), grpc=(address,), environ={"STYLOBATE_DRAIN_WAIT": "1s"}):
            await may_stop.wait()

    living = asyncio.create_task(live())
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(60):
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), wait_for_ready=True)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        may_start.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        may_stop.set()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", "stylobate.api.auth.v1.TokenService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert (await TokenServiceStub(channel).GetJwks(GetJwksRequest())).jwks
        watch.cancel()
    await living


async def test_a_replica_that_cannot_verify_anybody_does_not_listen(hosts, probe, server_run) -> None:
    """Without auth a process starts as far as its admin port, and no caller is sent to it."""

    async def build(_app, _settings) -> None: ...

    async def live() -> None:
        where = {"auth": f"unix:{server_run}/nobody"}
        async with hosts.open(probe(build), grpc=(f"unix:{server_run}/grpc",), addresses=where):
            pytest.fail("it must not get ready")

    living = asyncio.create_task(live())

    async def is_not_ready() -> bool:
        with suppress(httpx.TransportError):
            return (await hosts.ask("/readyz")).status_code == 503
        return False

    await until(is_not_ready)
    assert not (server_run / "grpc").exists()
    living.cancel()
    await asyncio.wait([living])
