"""Vault and Consul that answer what neither says, as a proxy's page on the way: they count as away, and are asked again."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from stylobate.discovery.consul_agent import ConsulAgent
from stylobate.vault.client import VaultClient
from stylobate.vault.errors import VaultUnavailableError
from stylobate.vault.options import VaultOptions


class Nonsense(ThreadingHTTPServer):
    """Answers everything in the same way."""

    body = b""

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One answer."""

    server: Nonsense

    def do_GET(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("X-Consul-Index", "3")
        self.send_header("content-length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET  # noqa: N815  the name is http.server's

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def nonsense() -> Iterator[Nonsense]:
    """Give the server."""
    with Nonsense(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("auth", ["token", "approle"])
@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"auth": null, "data": null}',
        b'{"auth": {"client_token": "t", "lease_duration": "x"}, "data": {"ttl": "x"}}',
        b'{"auth": {"client_token": "t", "lease_duration": 60}, "data": {"ttl": 60, "data": [1]}}',
        b"[" * 100_000,
    ],
)
def test_vault(nonsense: Nonsense, tmp_path: Path, auth: str, body: bytes) -> None:
    """Whoever keeps the login tries again: an error of another kind would end that, and the login with it."""
    nonsense.body = body
    (credentials := tmp_path / "credentials").write_text("proof")
    options = VaultOptions(nonsense.url, auth, "role", credentials, auth, "secret", "stylobate")  # type: ignore[arg-type]
    with pytest.raises(VaultUnavailableError, match="is not understood"):
        VaultClient(options).secret("auth")


@pytest.mark.parametrize(
    "service", ["5", "null", '{"Port": 1, "Weights": 5}', '{"Port": Infinity}', '{"Port": 0}', '{"Port": 99999}', "[" * 100_000]
)
async def test_consul(nonsense: Nonsense, service: str) -> None:
    """Whoever looks for a service looks again, and those known before are used meanwhile."""
    nonsense.body = f'[{{"Node": {{"Address": "192.0.2.1"}}, "Service": {service}}}]'.encode()
    agent = ConsulAgent(nonsense.url)
    try:
        with pytest.raises(OSError, match="said what is not understood"):
            await agent.passing("stylobate-state", "")
    finally:
        await agent.close()
