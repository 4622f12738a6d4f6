"""Two processes over mutual TLS, and settings of it that cannot be used."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stylobate.api.auth.v1.token_service_pb2 import GetJwksRequest
from stylobate.api.auth.v1.token_service_pb2_grpc import TokenServiceStub
from stylobate.config import ConfigError
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
