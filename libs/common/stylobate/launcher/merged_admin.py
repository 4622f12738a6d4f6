"""The admin listener of a platform with several processes: asks each over its socket and answers for all."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import orjson
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from stylobate.app.admin_listener import PATHS, Answer, json_answer
from stylobate.errors import InvalidInputError, NotFoundError
from stylobate.launcher.admin_client import ask

_OPEN = "application/openmetrics-text"
_PAUSE_S = 0.05
_SETTLED_WITHIN_S = 5.0
_AWAY = {"ready": False, "phase": "away", "status": "unhealthy"}


class MergedAdmin:
    """``/healthz``, ``/readyz``, ``/status`` and ``/metrics`` over all processes; each metric says its process."""

    def __init__(self, sockets: Mapping[str, str]) -> None:
        """Take the admin sockets by the processes' names."""
        self._sockets = dict(sockets)

    async def __call__(self, method: str, path: str, body: bytes, peer: str, accept: str = "") -> Answer:
        """Answer one request."""
        match path:
            case "/healthz":
                return json_answer(200, {"status": "alive"})
            case "/readyz" | "/status":
                status = await self.status()
                return json_answer(200 if path == "/status" or status["ready"] else 503, status)
            case "/metrics":
                return await self.metrics(accept)
            case "/log-levels":
                return await self.log_levels(method, body, peer)
            case _:
                raise NotFoundError(PATHS)

    async def status(self) -> dict[str, Any]:
        """Return the processes' answers by name and whether all are ready; services that differ in declarations are named."""
        processes: dict[str, Any] = {
            name: orjson.loads(body) if body else _AWAY for name, body in (await self._ask("/status")).items()
        }
        digests = {answer["declarations"]["digest"] for answer in processes.values() if "declarations" in answer}
        is_ready = all(answer["ready"] for answer in processes.values())
        is_well = is_ready and len(digests) <= 1 and all(answer["status"] == "healthy" for answer in processes.values())
        return {
            "ready": is_ready,
            "status": "healthy" if is_well else "degraded",
            "declarations": {"same": len(digests) <= 1},
            "processes": processes,
        }

    async def metrics(self, accept: str) -> Answer:
        """Return every process's metrics with a label ``process``, one family each, in the form that is asked for."""
        encode, kind = choose_encoder(accept)
        asked, families_of = (_OPEN, open_families) if kind.startswith(_OPEN) else ("*/*", plain_families)
        merged: dict[str, Metric] = {}
        for name, body in (await self._ask("/metrics", accept=asked)).items():
            for family in families_of(body.decode()) if body else ():
                target = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                target.samples += [sample._replace(labels=sample.labels | {"process": name}) for sample in family.samples]
        return 200, kind, encode(SimpleNamespace(collect=merged.values))

    async def log_levels(self, method: str, content: bytes, peer: str) -> Answer:
        """Return the levels by process, changed in each of them first when asked to; what one refuses is the answer."""
        levels = {}
        for name, socket in self._sockets.items():
            try:
                answer = await ask(socket, "/log-levels", method=method, content=content, peer=peer)
            except OSError:
                continue  # away; it comes back with the levels of its settings
            if answer.status == HTTPStatus.NOT_FOUND:
                raise NotFoundError(PATHS)
            if not answer.is_success:
                raise InvalidInputError(orjson.loads(answer.body)["detail"])
            levels[name] = orjson.loads(answer.body)
        return json_answer(200, levels)

    async def until_ready(self) -> dict[str, Any]:
        """Wait until every process says that it is ready; return the status then."""
        for name in self._sockets:  # first one after the other: most are not, and asking takes their time too
            while not (await self._ask("/readyz", name))[name]:  # noqa: ASYNC110  other processes can only be asked
                await asyncio.sleep(_PAUSE_S)
        while not (status := await self.status())["ready"]:  # noqa: ASYNC110  other processes can only be asked
            await asyncio.sleep(_PAUSE_S)
        return status

    async def wait_ready(self) -> None:
        """Wait until every process is ready, and a little for all to be well: they have just found each other."""
        status = await self.until_ready()
        patience = asyncio.get_running_loop().time() + _SETTLED_WITHIN_S
        while status["status"] != "healthy" and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(_PAUSE_S)
            status = await self.status()

    async def _ask(self, path: str, *names: str, accept: str = "*/*") -> dict[str, bytes]:
        """Return the answer of each process, or of those; empty where there is none (it is starting, or it died a moment ago)."""

        async def get(socket: str) -> bytes:
            try:
                answer = await ask(socket, path, accept=accept)
            except OSError:
                return b""
            return answer.body if answer.is_success else b""

        asked = names or tuple(self._sockets)
        answers = await asyncio.gather(*(get(self._sockets[name]) for name in asked))
        return dict(zip(asked, answers, strict=True))
