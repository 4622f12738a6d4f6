"""One admin listener for several processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families
from stylobate.app.listeners import HttpListener
from stylobate.app.listening import bind
from stylobate.errors import NotFoundError
from stylobate.launcher.merged_admin import MergedAdmin
from stylobate.telemetry.tallies import Spreads

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Process:
    """What one process says of itself."""

    def __init__(self, requests: int) -> None:
        registry = CollectorRegistry()
        Counter("requests", "How many.", ("path",), registry=registry).labels('/"quoted"\n').inc(requests)
        Gauge("open", "How many now.", registry=registry).set(requests)
        Histogram("seconds", "How long.", buckets=(0.1, 1), registry=registry).observe(0.5)
        spread = Spreads("took", "How long.", (), (0.1, 1.0), registry=registry).of()
        spread.observe(0.5)
        spread.exemplify(0.5, TRACE)
        self.metrics = generate_latest(registry)
        self.open_metrics = openmetrics.generate_latest(registry)
        self.digest = "same"
        self.code = 200

    async def __call__(self, scope, _receive, send) -> None:
        """Answer."""
        status = {"ready": True, "status": "healthy", "declarations": {"digest": self.digest, "findings": []}, "services": {}}
        is_open = any(name == b"accept" and b"openmetrics" in value for name, value in scope["headers"])
        metrics = self.open_metrics if is_open else self.metrics
        body = metrics if scope["path"] == "/metrics" else orjson.dumps(status)
        await send({"type": "http.response.start", "status": self.code, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def processes(server_run: Path) -> AsyncIterator[tuple[MergedAdmin, dict[str, Process], AsyncExitStack]]:
    """Give the merged admin of two processes, what they say, and what stops them."""
    found = {"a": Process(1), "b": Process(2)}
    async with AsyncExitStack() as stack:
        for name, process in found.items():
            listener = HttpListener(process, bind(f"unix:{server_run}/{name}"), grace_s=1)
            await listener.start()
            stack.push_async_callback(listener.stop)
        admin = MergedAdmin({name: f"{server_run}/{name}" for name in found})
        yield admin, found, stack


async def ask(admin: MergedAdmin, path: str) -> tuple[int, bytes]:
    """Return status and body of its answer."""
    status, _, body = await admin("GET", path, b"", "local")
    return status, body


async def test_metrics_of_all_processes_are_one_exposition(processes) -> None:
    """Each family stands once with its type, every sample says its process, and no value is lost."""
    admin, found, _ = processes
    status, text = await ask(admin, "/metrics")
    assert status == 200
    lines = text.decode().splitlines()
    kinds = [line for line in lines if line.startswith("# TYPE")]
    assert len(kinds) == len(set(kinds))
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert {name: families[name].type for name in ("requests", "open", "seconds")} == {
        "requests": "counter",
        "open": "gauge",
        "seconds": "histogram",
    }
    samples = {
        (s.name, s.labels["process"], s.labels.get("path"), s.labels.get("le")): s.value
        for f in families.values()
        for s in f.samples
    }
    for name, process in found.items():
        for family in text_string_to_metric_families(process.metrics.decode()):
            for sample in family.samples:
                assert samples[sample.name, name, sample.labels.get("path"), sample.labels.get("le")] == sample.value


async def test_exemplars_of_all_processes_are_kept(processes) -> None:
    """In OpenMetrics, which alone has them, each with its process."""
    admin, _, _ = processes
    status, kind, text = await admin("GET", "/metrics", b"", "local", "application/openmetrics-text;version=1.0.0")
    assert (status, kind.partition(";")[0]) == (200, "application/openmetrics-text")
    samples = [sample for family in open_families(text.decode()) for sample in family.samples]
    found = {sample.labels["process"]: (sample.labels["le"], sample.exemplar) for sample in samples if sample.exemplar}
    assert {name: (le, exemplar.labels, exemplar.value) for name, (le, exemplar) in found.items()} == dict.fromkeys(
        "ab", ("1.0", {"trace_id": TRACE[3:35], "span_id": TRACE[36:52]}, 0.5)
    )
    assert {(sample.name, sample.labels["process"]) for sample in samples} >= {("requests_total", "a"), ("requests_total", "b")}


async def test_all_must_be_ready(processes) -> None:
    """One that is away, or answers with an error, makes the whole unready; the others are still told of."""
    admin, found, stack = processes
    assert (await ask(admin, "/readyz"))[0] == 200
    assert (await admin.status())["status"] == "healthy"
    await asyncio.wait_for(admin.wait_ready(), 60)
    found["b"].code = 500
    status, body = await ask(admin, "/readyz")
    said = orjson.loads(body)
    assert (status, said["ready"], said["processes"]["b"]["phase"]) == (503, False, "away")
    assert said["processes"]["a"]["ready"]
    assert (await ask(admin, "/status"))[0] == 200
    await stack.aclose()


async def test_a_process_that_is_gone_is_away(server_run) -> None:
    """A socket that nobody answers on is not an error of the one who asks."""
    admin = MergedAdmin({"a": f"{server_run}/nobody"})
    assert (await admin.status())["processes"]["a"]["phase"] == "away"
    assert (await ask(admin, "/metrics"))[0] == 200
    assert (await ask(admin, "/healthz"))[0] == 200
    with pytest.raises(NotFoundError):
        await ask(admin, "/nothing")


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{", b"nonsense\r\n\r\n"])
async def test_what_is_no_whole_answer_is_none(server_run, said) -> None:
    """A process that ends in the middle of its answer is away, as is one that speaks something else."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    async with await asyncio.start_unix_server(speak, f"{server_run}/a"):
        assert (await MergedAdmin({"a": f"{server_run}/a"}).status())["processes"]["a"]["phase"] == "away"


async def test_different_declarations_are_told(processes) -> None:
    """Processes that loaded different modules work, and the whole is degraded."""
    admin, found, _ = processes
    found["b"].digest = "another"
    said = await admin.status()
    assert (said["ready"], said["status"], said["declarations"]) == (True, "degraded", {"same": False})
