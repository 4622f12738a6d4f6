"""TLS between services: files, and the credentials that they make."""

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

    def server_credentials(self) -> grpc.ServerCredentials:
        """Read the files. Raises OSError, ValueError."""
        if self.certificate is None or self.private_key is None:
            raise ValueError("a server needs a certificate and its private key")
        return grpc.ssl_server_credentials(
            [(self.private_key.read_bytes(), self.certificate.read_bytes())],
            root_certificates=_read(self.authority),
            require_client_auth=self.authority is not None,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Read the files. Raises OSError."""
        return grpc.ssl_channel_credentials(_read(self.authority), _read(self.private_key), _read(self.certificate))


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()
