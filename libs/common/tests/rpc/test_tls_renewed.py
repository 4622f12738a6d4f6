"""TLS whose files change while calls are made, and servers that take plain text as well while it is turned on."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from structlog.testing import capture_logs
from stylobate import tls as tls_module
from stylobate.rpc import TlsSettings, build_server, open_channel
from stylobate.testing.authority import Authority
from stylobate.testing.until import until

from .mux_ends import LOCAL, streams, under_load
from .probe import Probe, Users, servicers
from .test_breaker import outcome

WIRES = pytest.mark.parametrize("mux", [False, True], ids=["plain", "mux"])


class Side:
    """The files of one side, exchanged as an operator would: whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.settings = TlsSettings(folder / "ca.pem", folder / "side.pem", folder / "side.key")

    def put(self, authorities: bytes, certificate: tuple[Path, Path]) -> None:
        """Replace all three."""
        for name, content in (
            ("ca.pem", authorities),
            ("side.key", certificate[1].read_bytes()),
            ("side.pem", certificate[0].read_bytes()),
        ):
            (self.folder / f"new-{name}").write_bytes(content)
            (self.folder / f"new-{name}").replace(self.folder / name)


def authority(folder: Path) -> Authority:
    """Return a new authority."""
    folder.mkdir()
    return Authority(folder, folder.name)


@asynccontextmanager
async def served(tls: TlsSettings, *, mux: bool, is_mixed: bool = False) -> AsyncIterator[str]:
    """Serve a probe whose connections age soon; give its address."""
    probe = Probe()
    options: dict[str, Any] = {"mux_port": 0 if mux else None, "is_mixed": is_mixed, "max_connection_age": timedelta(seconds=0.3)}
    server = build_server(servicers(probe, Users()), addresses=[LOCAL], tls=tls, **options)
    await server.start()
    try:
        yield f"127.0.0.1:{server.ports[LOCAL]}"
    finally:
        probe.release.set()
        await server.stop(0)


async def shown_by(address: str, client: TlsSettings, *, port: int = 0) -> int:
    """Return the serial number of the certificate that a server shows."""
    context = client.client_context()
    host, _, told = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, port or int(told), ssl=context, server_hostname="127.0.0.1")
    found: Any = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return x509.load_der_x509_certificate(found).serial_number


def serial(pem: Path) -> int:
    """Return the serial number in a file."""
    return x509.load_pem_x509_certificate(pem.read_bytes()).serial_number


@WIRES
async def test_certificates_and_authority_are_exchanged_under_load(
    mux: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both authorities are known, then both sides show a new certificate, then the old authority goes: no call fails."""
    monkeypatch.setattr(tls_module, "_LOOK_EVERY_S", 0.02)
    old, new = authority(tmp_path / "old"), authority(tmp_path / "new")
    server, client = Side(tmp_path / "server"), Side(tmp_path / "client")
    both = old.file.read_bytes() + new.file.read_bytes()
    for side in (server, client):
        side.put(old.file.read_bytes(), old.issue("first"))
    async with served(server.settings, mux=mux) as address, open_channel(address, mux=mux, tls=client.settings) as channel:
        await until(lambda: outcome(channel), lambda said: said == "there")
        async with under_load(channel) as answers:
            for authorities, by in ((both, old), (both, new), (new.file.read_bytes(), new)):
                certificate = by.issue("next")
                for side in (server, client):
                    side.put(authorities, certificate)
                await until(lambda: shown_by(address, client.settings), lambda found, pem=certificate[0]: found == serial(pem))
                await until(lambda most=answers["there"] + 200: answers["there"] > most)
        assert set(answers) == {"there"}
        stranger = Side(tmp_path / "stranger")
        stranger.put(new.file.read_bytes(), old.issue("stranger"))  # by an authority that is trusted no more
        async with open_channel(address, mux=mux, tls=stranger.settings) as refused:
            assert await outcome(refused) == "UNAVAILABLE"
        if mux:
            assert streams(channel)


async def test_files_that_do_not_fit_leave_those_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate whose key is another one's is not used, and the log says so once."""
    monkeypatch.setattr(tls_module, "_LOOK_EVERY_S", 0.0)
    made, side = authority(tmp_path / "authority"), Side(tmp_path / "side")
    first = made.issue("first")
    side.put(made.file.read_bytes(), first)
    with capture_logs() as lines:
        async with served(side.settings, mux=True) as address:
            other = made.issue("other")
            shutil.copy(other[0], tmp_path / "side" / "side.pem")
            for _ in range(3):
                with pytest.raises(ssl.SSLError):
                    side.settings.client_context()
                client = TlsSettings(made.file, *made.issue("client"))
                assert await shown_by(address, client) == serial(tmp_path / "authority" / "first.pem")
    (line,) = [line for line in lines if line["event"] == "certificates_not_read"]
    assert "is not the private key" in line["problems"][0]


async def test_a_certificate_that_is_over_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one before is shown on, with one line; a start with such a one is said, and the next that holds is taken."""
    monkeypatch.setattr(tls_module, "_LOOK_EVERY_S", 0.0)
    made, side = authority(tmp_path / "authority"), Side(tmp_path / "side")
    client = TlsSettings(made.file, *made.issue("client"))
    side.put(made.file.read_bytes(), made.issue("first"))
    over = made.issue("over", lasts=timedelta(minutes=-1))
    with capture_logs() as lines:
        async with served(side.settings, mux=True) as address:
            first = await shown_by(address, client)
            side.put(made.file.read_bytes(), over)
            for _ in range(3):
                assert await shown_by(address, client) == first
        (line,) = [line for line in lines if line["event"] == "certificates_not_read"]
        assert "side.pem ended at 20" in line["problems"][0]
        async with served(side.settings, mux=True) as address:
            assert any(line["event"] == "certificate_over" for line in lines)
            with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                await shown_by(address, client)
            side.put(made.file.read_bytes(), made.issue("next"))
            assert await shown_by(address, client)


@WIRES
async def test_a_mixed_server_takes_both(mux: bool, tmp_path: Path) -> None:
    """Clients with TLS and without are answered at one address; one that says nothing holds nobody up; later only TLS is."""
    made, side = authority(tmp_path / "authority"), Side(tmp_path / "side")
    side.put(made.file.read_bytes(), made.issue("side"))
    async with served(side.settings, mux=mux, is_mixed=True) as address:
        _, silent = await asyncio.open_connection(*address.rpartition(":")[::2])
        for tls in (side.settings, None):
            async with open_channel(address, mux=mux, tls=tls) as channel:
                await until(lambda: outcome(channel), lambda said: said == "there")
                async with under_load(channel) as answers:
                    await until(lambda: answers["there"] > 100)
                    if mux:
                        await until(lambda: bool(streams(channel)))
                assert set(answers) == {"there"}
        stranger = TlsSettings(made.file)
        async with open_channel(address, mux=mux, tls=stranger) as refused:
            assert await outcome(refused) == "UNAVAILABLE"
        silent.close()
    async with served(side.settings, mux=mux) as address, open_channel(address, mux=mux) as refused:
        assert await outcome(refused) == "UNAVAILABLE"
