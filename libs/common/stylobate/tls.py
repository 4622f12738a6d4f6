"""TLS: files, the credentials that they make, and what is made anew when the files change."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Generic, TypeVar

import grpc

from stylobate.imports import on_demand
from stylobate.logs import get_logger

with on_demand("cryptography.x509"):  # 2 MB for whoever looks at a certificate; PyJWT imports it as well
    from cryptography import x509

T = TypeVar("T")
_LOOK_EVERY_S = 1.0
_log = get_logger("security")


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """PEM files of one side of a connection. The same settings serve a process that is both server and client.

    With ``authority`` and a certificate of its own each side proves itself (mutual TLS): a server then asks for the
    client's certificate.
    """

    authority: Path | None = None
    """Certificates that the other side's is checked against; None: the system's for a client, no check for a server."""
    certificate: Path | None = None
    """This side's chain, leaf first. A server needs one."""
    private_key: Path | None = None
    """Of the certificate."""
    server_name: str = ""
    """For a client: the name to look for in the server's certificate, where it differs from the target's."""

    def findings(self) -> list[str]:
        """Return what is wrong with the files: gRPC itself says so only of each connection, and not which file it is."""
        found = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority is not None:
            try:
                context.load_verify_locations(self.authority)
            except (OSError, ValueError) as error:
                found.append(f"AUTHORITY: {self.authority} holds no certificate ({_reason(error)})")
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.private_key, password="")
            except (OSError, ValueError) as error:
                whose = f"STYLOBATE_TLS_CERTIFICATE, {self.certificate}"
                found.append(f"KEY: {self.private_key} is not the private key of {whose} ({_reason(error)})")
        return found

    def over(self) -> list[str]:
        """Return what is wrong with the time of this side's certificate: nobody who looks at it would take it."""
        if self.certificate is None:
            return []
        leaf = x509.load_pem_x509_certificates(self.certificate.read_bytes())[0]
        if leaf.not_valid_after_utc <= (now := datetime.now(UTC)):
            return [f"CERTIFICATE: {self.certificate} ended at {leaf.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"]
        if leaf.not_valid_before_utc > now:
            return [f"CERTIFICATE: {self.certificate} begins at {leaf.not_valid_before_utc:%Y-%m-%dT%H:%M:%SZ}"]
        return []

    def server_credentials(self) -> grpc.ServerCredentials:
        """Read the files, and again for who connects after they have changed. Raises OSError, ValueError."""
        files = Renewed(self, self._configuration)
        seen = files.current()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal seen
            before, seen = seen, files.current()
            return None if seen is before else seen

        asked: Any = changed  # its types leave out that None stands for what is the same
        return grpc.dynamic_ssl_server_credentials(seen, asked, require_client_authentication=self.authority is not None)

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        if self.certificate is None or self.private_key is None:
            raise ValueError("a server needs a certificate and its private key")
        pair = self.private_key.read_bytes(), self.certificate.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=_read(self.authority))

    def server_context(self, *protocols: str) -> ssl.SSLContext:
        """Return the same for a server that is not gRPC's own. Raises OSError, ValueError.

        :param protocols: that are spoken (ALPN); none: HTTP/2.
        """
        files = Renewed(self, lambda: self._server_context(protocols))
        context = self._server_context(protocols)

        def hand_over(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = files.current()

        context.sni_callback = hand_over  # OpenSSL calls it in every handshake, also when the client sends no server name
        return context

    def _server_context(self, protocols: tuple[str, ...]) -> ssl.SSLContext:
        if self.certificate is None:
            raise ValueError("a server needs a certificate and its private key")
        context = self._context(ssl.PROTOCOL_TLS_SERVER, protocols)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return the same for a client that is not gRPC's own. Raises OSError."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority is None:
            context.load_default_certs()
        return context

    def _context(self, protocol: int, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(protocols or ("h2",))
        if self.authority is not None:
            context.load_verify_locations(self.authority)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.private_key, password="")
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError."""
        return grpc.ssl_channel_credentials(_read(self.authority), _read(self.private_key), _read(self.certificate))

    def state(self) -> object:
        """Return what is another value once a file has changed; None: something is being exchanged at this moment."""
        try:
            files = [file for file in (self.authority, self.certificate, self.private_key) if file is not None]
            return [(status.st_mtime_ns, status.st_ino, status.st_size) for file in files for status in (file.stat(),)]
        except OSError:
            return None


class Renewed(Generic[T]):
    """What is made of the files, and made again once they have changed: they are looked at when it is asked for, once a second.

    Files that cannot be used, as a certificate whose key is not written yet, leave what was made before, and the log says so.

    :param make: raises OSError, ValueError.
    """

    def __init__(self, files: TlsSettings, make: Callable[[], T]) -> None:
        self._files, self._make = files, make
        self._seen = files.state()
        self._made = make()
        if over := files.over():
            _log.error(
                "certificate_over", problem=over, cure="who connects refuses it; another one is taken as soon as it is there"
            )
        self._refused: object = None
        self._look_at = monotonic() + _LOOK_EVERY_S

    def current(self) -> T:
        """Return it."""
        now = monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY_S
            state = self._files.state()
            if state not in (None, self._seen):
                self._renew(state)
        return self._made

    def _renew(self, state: object) -> None:
        try:
            problems = self._files.findings() or self._files.over()
            if not problems:
                self._made, self._seen = self._make(), state
                _log.info("certificates_read", certificate=str(self._files.certificate or self._files.authority))
        except (OSError, ValueError) as error:
            problems = [_reason(error)]
        if problems and state != self._refused:
            self._refused = state
            cure = "those read before are used on"
            _log.error("certificates_not_read", problems=[f"STYLOBATE_TLS_{problem}" for problem in problems], cure=cure)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
