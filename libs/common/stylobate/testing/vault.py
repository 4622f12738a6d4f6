"""OpenBao under test, and what an operator does with it: writes, seals, unseals, takes logins away."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hvac
import requests

from stylobate.launcher.embedded import EmbeddedOpenBao
from stylobate.launcher.embedded.openbao import ROLE
from stylobate.testing.authority import Authority
from stylobate.testing.ports import HOST, free_ports
from stylobate.vault import VaultOptions

_USER = """create role "{{name}}" login password '{{password}}' valid until '{{expiration}}' in role app"""


class VaultServer:
    """One server: a plain listener, and one with TLS beside it.

    :param is_durable: whether what it was told survives its end; else it is kept in memory.
    """

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        self._folder = folder
        port = free_ports(2)
        authority = Authority(folder)
        certificate, key = authority.issue("vault")
        tls = {"address": f"{HOST}:{port + 1}", "tls_cert_file": str(certificate), "tls_key_file": str(key)}
        plain = {"address": f"{HOST}:{port}", "tls_disable": True}
        settings: dict[str, Any] = {"listener": [{"tcp": plain}, {"tcp": tls}]}
        settings |= {} if is_durable else {"storage": {"inmem": {}}}
        self.server = EmbeddedOpenBao(folder / "data", port, settings=settings)
        self.url = self.server.url
        self.tls_url = f"https://{HOST}:{port + 1}"
        self.authority = authority.file

    def options(self, path: str, **other: Any) -> VaultOptions:
        """Return how a platform reaches it that has its secrets at a path of the tests."""
        settings: dict[str, Any] = {
            "address": self.url,
            "auth": "approle",
            "role": ROLE,
            "credentials": self.server.data / "secret_id",
            "auth_mount": "approle",
            "mount": "secret",
            "path": f"stylobate/{path}",
        }
        return VaultOptions(**settings | other)

    def environment(self, path: str) -> dict[str, str]:
        """Return the same as settings."""
        return self.server.environment() | {"STYLOBATE_VAULT_PATH": f"stylobate/{path}"}

    @contextmanager
    def root(self) -> Iterator[Any]:
        """Give hvac's client of who may do everything."""
        session = requests.Session()
        session.trust_env = False
        client = hvac.Client(url=self.url, token=self.server.root_token, timeout=10, session=session)
        try:
            yield client
        finally:
            client.adapter.close()

    def put(self, path: str, **values: Any) -> None:
        """Write the whole of a secret, below ``stylobate/``."""
        with self.root() as client:
            client.secrets.kv.v2.create_or_update_secret(f"stylobate/{path}", values)

    def seal(self) -> None:
        """Seal it: it answers nothing but that."""
        with self.root() as client:
            client.sys.seal()

    def unseal(self) -> None:
        """Unseal it, where it is sealed."""
        with self.root() as client:
            client.sys.submit_unseal_key((self.server.data / "unseal_key").read_text())

    def transit(self, key: str, **options: Any) -> None:
        """Make a key of the Transit engine; one that is there stays."""
        with self.root() as client:
            client.secrets.transit.create_key(key, key_type=options.get("type"))

    def rotate(self, key: str) -> None:
        """Make another version of a key of Transit."""
        with self.root() as client:
            client.secrets.transit.rotate_key(key)

    def forget(self, key: str, *, before: int) -> None:
        """Have versions before this one open nothing any more."""
        with self.root() as client:
            client.secrets.transit.update_key_configuration(key, min_decryption_version=before)

    def database(self, role: str, *, host: str, name: str, port: str = "5432", ttl: str, most: str) -> None:
        """Have the engine for databases make users in a database of the tests' server, by a role; they take what `app` may.

        :param host: the folder of its socket. :param ttl: how long a user is there, and :param most: at most, renewed.
        """
        with self.root() as client:
            if "database/" not in client.sys.list_mounted_secrets_engines()["data"]:
                client.sys.enable_secrets_engine("database")
            client.secrets.database.configure(
                name=name,
                plugin_name="postgresql-database-plugin",
                allowed_roles=["*"],
                connection_url=f"postgresql://{{{{username}}}}:{{{{password}}}}@/{name}?host={host}&port={port}",
                username="stylobate",
                password="unused",  # noqa: S106  the tests' server asks for none
            )
            client.secrets.database.create_role(role, name, [_USER], default_ttl=ttl, max_ttl=most)

    def end_logins(self) -> None:
        """Take every login of the platform's role away."""
        with self.root() as client:
            client.sys.revoke_prefix("auth/approle/login")
