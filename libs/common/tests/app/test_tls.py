"""Two processes over mutual TLS, and settings of it that cannot be used."""

import asyncio
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stylobate import tls
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.config import ConfigError
from stylobate.http.asgi import answer, read_body
from stylobate.testing.authority import Authority
from stylobate.testing.ports import free_ports


def write_side(folder: Path) -> dict[str, str]:
    """Write a certificate that is its own authority; return the settings that name it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "side")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "side.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "side.key").write_bytes(pem)
    return {
        "STYLOBATE_TLS_CERTIFICATE": str(folder / "side.pem"),
        "STYLOBATE_TLS_KEY": str(folder / "side.key"),
        "STYLOBATE_TLS_AUTHORITY": str(folder / "side.pem"),
    }


async def nothing(_app, _settings) -> None:
    """Build nothing."""


async def test_two_processes_prove_themselves_to_each_other(hosts, auth, probe, tmp_path) -> None:
    """A process gets ready through auth over mutual TLS; who has no certificate is not heard."""
    address = f"127.0.0.1:{free_ports(1)}"
    environ = write_side(tmp_path)
    async with hosts.open(auth, environ=environ, grpc=(address,), admin=""):
        async with hosts.open(probe(nothing), environ=environ, addresses={"auth": address}) as host:
            assert host.is_ready
            assert (await host.status())["identity"]["status"] == "healthy"
        authority = grpc.ssl_channel_credentials((tmp_path / "side.pem").read_bytes())
        for channel in (grpc.aio.insecure_channel(address), grpc.aio.secure_channel(address, authority)):
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await TokenServiceStub(channel).GetJwks(GetJwksRequest(), timeout=5)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"STYLOBATE_TLS_CERTIFICATE": "/nowhere.pem"}, "STYLOBATE_TLS_CERTIFICATE: /nowhere.pem is not a file"),
        ({"STYLOBATE_TLS_AUTHORITY": "/nowhere.pem"}, "STYLOBATE_TLS_AUTHORITY: /nowhere.pem is not a file"),
        ({"STYLOBATE_TLS_KEY": ""}, "STYLOBATE_TLS_KEY: missing"),
    ],
)
async def test_files_that_are_not_there_are_settings_to_mend(hosts, auth, tmp_path, change, said) -> None:
    """The start fails with the name of the setting, not with a traceback."""
    with pytest.raises(ConfigError, match=said):
        async with hosts.open(auth, environ=write_side(tmp_path) | change, grpc=("127.0.0.1:0",)):
            pytest.fail("it must not start")


async def test_the_http_port_speaks_tls(hosts, auth, probe, tmp_path, monkeypatch) -> None:
    """Requests with bodies and answers of every size; a certificate that is exchanged is shown to who connects then."""
    monkeypatch.setattr(tls, "_LOOK_EVERY_S", 0.0)
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority")
    first = authority.issue("first")
    shutil.copy(first[0], tmp_path / "http.pem")
    shutil.copy(first[1], tmp_path / "http.key")
    port = free_ports(1)
    environ = {"STYLOBATE_HTTP_TLS_CERTIFICATE": str(tmp_path / "http.pem"), "STYLOBATE_HTTP_TLS_KEY": str(tmp_path / "http.key")}
    trusting = ssl.create_default_context(cafile=str(authority.file))

    async def echo(scope, receive, send) -> None:
        body = await read_body(receive, 2_000_000)
        await answer(send, 200, [(b"x-scheme", scope["scheme"].encode())], body)

    async def build(app, _settings) -> None:
        app.http(echo)

    async with hosts.open(auth, probe(build), environ=environ, http=f"127.0.0.1:{port}"):
        for issued in ("first", "second"):
            certificate, key = authority.issue(issued)
            shutil.copy(key, tmp_path / "http.key")
            shutil.copy(certificate, tmp_path / "http.pem")
            async with httpx.AsyncClient(base_url=f"https://127.0.0.1:{port}", verify=trusting, trust_env=False) as client:
                for size in (0, 10, 1_000_000):
                    answered = await client.post("/", content=b"x" * size)
                    assert (answered.status_code, answered.headers["x-scheme"], len(answered.content)) == (200, "https", size)
                assert (await client.get("/", headers={"x": "x" * 100_000})).status_code == 431
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            assert ssl.DER_cert_to_PEM_cert(writer.get_extra_info("ssl_object").getpeercert(True)) == certificate.read_text()
            writer.close()
        plain_reader, plain = await asyncio.open_connection("127.0.0.1", port)
        plain.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert not (await plain_reader.read()).startswith(b"HTTP/")
        plain.close()
