"""Certificates and wires for the tests of calls."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from stylobate.rpc import TlsSettings

from .probe import KINDS, Wire, wire


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey, *, is_authority: bool
) -> bytes:
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(_named(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def write_pki(folder: Path) -> TlsSettings:
    """Write an authority and one certificate that serves both sides."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    made = TlsSettings(folder / "authority.pem", folder / "side.pem", folder / "side.key")
    assert made.authority is not None
    assert made.certificate is not None
    assert made.private_key is not None
    made.authority.write_bytes(_certificate("authority", authority_key, "authority", authority_key, is_authority=True))
    made.certificate.write_bytes(_certificate("side", key, "authority", authority_key, is_authority=False))
    made.private_key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return made


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsSettings:
    """Both sides' files for mutual TLS."""
    return write_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(params=KINDS)
async def any_wire(request: pytest.FixtureRequest, tmp_path: Path, tls: TlsSettings) -> AsyncIterator[Wire]:
    """Give the probe over each transport in turn."""
    async with wire(request.param, tmp_path, tls) as made:
        yield made


@pytest.fixture
async def local(tmp_path: Path, tls: TlsSettings) -> AsyncIterator[Wire]:
    """Give the probe over a local channel."""
    async with wire("local", tmp_path, tls) as made:
        yield made


@pytest.fixture
async def prompt(tmp_path: Path, tls: TlsSettings) -> AsyncIterator[Wire]:
    """Give the probe over a local channel, with handlers that run in the task of whoever calls them."""
    async with wire("prompt", tmp_path, tls) as made:
        yield made


@pytest.fixture
async def tcp(tmp_path: Path, tls: TlsSettings) -> AsyncIterator[Wire]:
    """Give the probe over TCP."""
    async with wire("tcp", tmp_path, tls) as made:
        yield made
