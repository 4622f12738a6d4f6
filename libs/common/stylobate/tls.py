"""TLS between services: files, and the credentials that they make."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc


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

    def server_credentials(self) -> grpc.ServerCredentials:
        """Read the files. Raises OSError, ValueError."""
        if self.certificate is None or self.private_key is None:
            raise ValueError("a server needs a certificate and its private key")
        return grpc.ssl_server_credentials(
            [(self.private_key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=_read(self.authority),
            require_client_auth=self.authority is not None,
        )

    def server_context(self) -> ssl.SSLContext:
        """Return the same for a server that is not gRPC's own. Raises OSError, ValueError."""
        if self.certificate is None:
            raise ValueError("a server needs a certificate and its private key")
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        if self.authority is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return the same for a client that is not gRPC's own. Raises OSError."""
        context = self._context(ssl.PROTOCOL_TLS_CLIENT)
        if self.authority is None:
            context.load_default_certs()
        return context

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["h2"])
        if self.authority is not None:
            context.load_verify_locations(self.authority)
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.private_key, password="")
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError."""
        return grpc.ssl_channel_credentials(_read(self.authority), _read(self.private_key), _read(self.certificate))


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", "") or getattr(error, "strerror", "") or error)


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
