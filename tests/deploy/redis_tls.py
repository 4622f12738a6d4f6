"""Clusters and Sentinels of the system's Redis, every connection over TLS: the embedded Valkey speaks none."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stylobate.launcher.embedded import EmbeddedValkey
from stylobate.launcher.embedded.process import ChildProcess, server_environ
from stylobate.testing.authority import Authority
from stylobate.testing.valkey_call import valkey_call
from stylobate.testing.valkey_cluster import ValkeyCluster
from stylobate.testing.valkey_sentinel import ValkeySentinels

from tests.deploy.servers import redis_program


def tls_options(port: int, authority: Authority) -> dict[str, str]:
    """Return what has a server listen with TLS alone, and speak TLS with the others."""
    certificate, key = authority.issue(f"redis-{port}")
    return {
        "port": "0",
        "tls-port": str(port),
        "tls-cert-file": str(certificate),
        "tls-key-file": str(key),
        "tls-ca-cert-file": str(authority.file),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
    }


class SystemRedis(EmbeddedValkey):
    """A Redis of the system, with the options that are given to it and its socket."""

    def _command(self) -> list[str]:
        program = redis_program()
        assert program is not None
        options = {"unixsocket": str(self.socket), "dir": str(self.data), "save": "", "daemonize": "no"} | self._options
        return [program, *(part for name, value in options.items() for part in (f"--{name}", value))]


class TlsCluster(ValkeyCluster):
    """A Cluster of them; the bus between the nodes has TLS, too."""

    authority: Authority

    @property
    def url(self) -> str:
        """The address of the whole, with the authority that signed the nodes' certificates."""
        return _with_tls(super().url, self.authority)

    def _node(self, port: int, bus: int, options: Mapping[str, str]) -> EmbeddedValkey:
        made = super()._node(port, bus, options)
        return SystemRedis(
            made.data, self._run(port), options=made._options | tls_options(port, self.authority) | {"tls-cluster": "yes"}
        )


class TlsSentinels(ValkeySentinels):
    """A master, its replica and Sentinels of them."""

    authority: Authority

    @property
    def url(self) -> str:
        """The address of the master, with the authority that signed all certificates."""
        return _with_tls(super().url, self.authority)

    async def call(self, sentinel: int, *arguments: str | int) -> Any:
        """Send a command to one Sentinel."""
        tls = ssl.create_default_context(cafile=str(self.authority.file))
        return await valkey_call(self.sentinel_ports[sentinel], *arguments, password=self.sentinel_password, tls=tls)

    def _server(self, port: int) -> EmbeddedValkey:
        made = super()._server(port)
        return SystemRedis(made.data, made.socket.parent, options=made._options | tls_options(port, self.authority))

    def _sentinel(self, port: int) -> ChildProcess:
        super()._sentinel(port)
        folder, program = self._folder / str(port), redis_program()
        assert program is not None
        with (folder / "sentinel.conf").open("a", encoding="utf-8") as settings:
            settings.writelines(f"{name} {value}\n" for name, value in tls_options(port, self.authority).items())
        command = [program, str(folder / "sentinel.conf"), "--sentinel"]
        return ChildProcess("sentinel", command, log=folder / "sentinel.log", environ=server_environ())


def _with_tls(url: str, authority: Authority) -> str:
    mark = "&" if "?" in url else "?"
    return f"{url.replace('redis+', 'rediss+', 1)}{mark}ssl_ca_certs={quote(str(authority.file), safe='')}"


def of(kind: Any, folder: Path) -> Any:
    """Return a kind of these whose certificates an authority in the folder signs."""
    certificates = folder / "certificates"
    certificates.mkdir()
    return type(kind.__name__, (kind,), {"authority": Authority(certificates)})
