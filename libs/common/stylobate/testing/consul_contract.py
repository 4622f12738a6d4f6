"""A contract server: what this project believes that a Consul agent's HTTP API does. It is not a Consul agent, and says so."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import web

WHO = "stylobate contract server, not a Consul agent"


class ConsulContract:
    """Registrations with TTL checks, and blocking queries on those that pass. Checks run out when :meth:`expire` says so."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.passing: set[str] = set()
        self.index = 10
        self.token = ""
        """Asked of everybody; empty: of nobody."""
        self.sends_to = ""
        """Where it sends everybody; empty: nowhere."""
        self.is_silent = False
        """Whether requests are taken and never answered."""
        self.asked: list[tuple[str, str]] = []
        """The index and wait of each blocking query."""
        self.url = ""
        self.tls: ssl.SSLContext | None = None
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    @classmethod
    @asynccontextmanager
    async def run(cls, tls: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        """Serve on a free port of the loopback interface."""
        made = cls()
        made.tls = tls
        await made.start(0)
        try:
            yield made
        finally:
            await made.stop()

    async def start(self, port: int) -> None:
        """Listen."""
        app = web.Application(middlewares=[self._door])
        app.router.add_put("/v1/agent/service/register", self._register)
        app.router.add_put("/v1/agent/check/pass/{check}", self._pass)
        app.router.add_put("/v1/agent/service/deregister/{id}", self._deregister)
        app.router.add_get("/v1/health/service/{name}", self._health)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=self.tls)
        await site.start()
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Listen no more, and break off what is under way."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def put(self, name: str, port: int, weight: int = 1) -> None:
        """Register an instance of a service as another process would, passing."""
        key = f"{name}-{port}"
        self.services[key] = {
            "ID": key,
            "Service": name,
            "Address": "127.0.0.1",
            "Port": port,
            "Weights": {"Passing": weight, "Warning": 1},
        }
        self.passing.add(key)
        await self.change()

    async def expire(self, key: str) -> None:
        """Let an instance's check run out."""
        self.passing.discard(key)
        await self.change()

    async def forget(self) -> None:
        """Be an agent that was started anew: nothing is registered, and the index begins again."""
        self.services.clear()
        self.passing.clear()
        self.index = 1
        await self.change()

    async def change(self) -> None:
        """Count an index on, and answer who waits."""
        async with self._changed:
            self.index += 1
            self._changed.notify_all()

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.is_silent:
            await asyncio.Event().wait()
        if self.sends_to:
            raise web.HTTPTemporaryRedirect(self.sends_to + request.path)
        if self.token and request.headers.get("X-Consul-Token") != self.token:
            return web.Response(status=403, text="Permission denied", headers={"Server": WHO})
        answer: web.StreamResponse = await handler(request)
        answer.headers["Server"] = WHO
        return answer

    async def _register(self, request: web.Request) -> web.Response:
        said = {name.lower(): value for name, value in json.loads(await request.read()).items()}
        (check,) = ({name.lower(): value for name, value in one.items()} for one in said["checks"])
        _expect(check["checkid"] == f"service:{said['id']}" and check["ttl"].endswith("s"), "a check of the service, with a TTL")
        _expect(check["deregistercriticalserviceafter"] == "1m", "to be taken back when the check is critical")
        self.services[said["id"]] = {
            "ID": said["id"],
            "Service": said["name"],
            "Address": said["address"],
            "Port": said["port"],
            "Weights": said["weights"],
        }
        self.passing.discard(said["id"])
        await self.change()
        return web.Response()

    async def _pass(self, request: web.Request) -> web.Response:
        key = request.match_info["check"].removeprefix("service:")
        if key not in self.services:
            return web.Response(status=404, text=f'Unknown check ID "service:{key}"')
        if key not in self.passing:
            self.passing.add(key)
            await self.change()
        return web.Response()

    async def _deregister(self, request: web.Request) -> web.Response:
        self.services.pop(request.match_info["id"], None)
        self.passing.discard(request.match_info["id"])
        await self.change()
        return web.Response()

    async def _health(self, request: web.Request) -> web.Response:
        index, wait = request.query.get("index", ""), request.query.get("wait", "")
        self.asked.append((index, wait))
        _expect("passing" in request.query, "to ask for those that pass")
        if index:
            try:
                async with asyncio.timeout(float(wait.removesuffix("s"))), self._changed:
                    await self._changed.wait_for(lambda: self.index != int(index))
            except TimeoutError:
                pass
        name = request.match_info["name"]
        found = [
            {"Node": {"Address": "127.0.0.1"}, "Service": service, "Checks": []}
            for key, service in self.services.items()
            if service["Service"] == name and key in self.passing
        ]
        return web.json_response(found, headers={"X-Consul-Index": str(self.index)})


def _expect(holds: object, what: str) -> None:
    """Refuse a request that is not what an agent is asked."""
    if not holds:
        raise AssertionError(f"the contract wants {what}")
