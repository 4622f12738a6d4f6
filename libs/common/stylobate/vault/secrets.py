"""What Vault's KV engine says of our paths: read once, looked at again, the last known kept while it is away."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

from stylobate.config import ConfigError
from stylobate.identity.stored_keys import PUBLIC
from stylobate.vault.client import VaultClient
from stylobate.vault.database_user import DatabaseUser
from stylobate.vault.errors import VaultDeniedError, VaultError
from stylobate.vault.options import VaultOptions

_SETTING = "STYLOBATE_VAULT_DATABASE_ROLE"
_TEXTS = (str, int, float, bool)


class VaultSecrets:
    """The store of settings (:class:`stylobate.config.SettingStore`) that Vault is.

    A path is one secret of KV version 2, its keys are names of settings. Calls block while a path is read for the first
    time; later :meth:`look` reads all of them anew. What was there once is used on, also when it is gone there: a key that is
    deleted by mistake must not have a running platform fall back to a default.
    """

    def __init__(self, client: VaultClient) -> None:
        self._client = client
        self.database_users: dict[str, DatabaseUser] = {}
        """Of this process, by the role that Vault makes them with."""
        self._lock = Lock()
        self._found: dict[str, dict[str, Any]] = {}
        self._wanted: set[str] = set()
        self._denied: dict[str, str] = {}
        self._gone: set[str] = set()
        self._down = ""
        self._is_changed = False

    @property
    def options(self) -> VaultOptions:
        """How Vault is reached."""
        return self._client.options

    @property
    def problem(self) -> str:
        """Why Vault, or one of our paths there, cannot be read at the moment, one line; empty: it can."""
        return self._down or next(iter(self._denied.values()), "")

    @property
    def gone(self) -> list[str]:
        """What was there and is not any more, by its place."""
        return sorted(self._gone)

    @property
    def values(self) -> int:
        """How many values are known."""
        return sum(map(len, self._found.values()))

    def requires(self, name: str) -> bool:
        """Return whether a value may come from Vault alone."""
        return name in self._client.options.required

    def with_login(self, url: str, role: str = "", setting: str = "") -> tuple[str, str] | None:
        """Return the URL of a database with the user that Vault has made, and where it is from; None: Vault makes none.

        :param role: of Vault's engine; empty: that of the options. :param setting: that names it.
        :raises ConfigError: Vault should make one, and cannot.
        """
        if not (role := role or self._client.options.database_role):
            return None
        with self._lock:
            if (user := self.database_users.get(role)) is None:
                user = self.database_users[role] = DatabaseUser(self._client, role, setting or _SETTING)
            return user.for_url(url), user.place

    def place(self, path: str, name: str) -> str:
        """Return where a value stands: ``vault secret/stylobate/auth#signing_key at https://…``."""
        return f"vault {self._client.options.at(path)}#{name} at {self._client.options.address}"

    def find(self, path: str, name: str) -> str | None:
        """Return the value of a key; None where there is none, or where Vault cannot be asked.

        :raises ConfigError: it is not a text, a number or a yes or no.
        """
        if path not in self._found:  # else nobody waits for those who ask Vault at this moment
            with self._lock:
                self._wanted.add(path)
                if path not in self._found and path not in self._denied and not self._down:
                    self._first_read(path)
        value = self._found.get(path, {}).get(name)
        if value is None:
            return None
        if not isinstance(value, _TEXTS):
            raise ConfigError([f"{self.place(path, name)}: must be a text, not a {type(value).__name__}"])
        return str(value).lower() if isinstance(value, bool) else str(value)

    def all(self, path: str) -> Mapping[str, Any]:
        """Return all keys of a path; none where there is none, or where Vault cannot be asked."""
        self.find(path, "")
        return self._found.get(path, {})

    def _first_read(self, path: str) -> None:
        try:
            self._found[path] = self._client.secret(path) or {}
        except VaultDeniedError as error:
            self._denied[path] = str(error)
        except VaultError as error:
            self._down = str(error)  # not asked again for each of the other paths

    def has_changed(self) -> bool:
        """Return whether a value is new, or another one, since this was asked last."""
        is_changed, self._is_changed = self._is_changed, False
        return is_changed

    def look(self) -> None:
        """Read every path anew. Raises VaultError, after having tried all paths where one is refused."""
        with self._lock:
            refusal: VaultError | None = None
            for user in self.database_users.values():
                try:
                    self._is_changed |= user.look()
                except VaultDeniedError as error:
                    refusal = error
                except VaultError as error:
                    self._down = str(error)
                    raise
            for path in sorted(self._wanted):
                try:
                    self._is_changed |= self._take(path, self._client.secret(path) or {})
                except VaultDeniedError as error:
                    self._denied[path], refusal = str(error), error
                except VaultError as error:
                    self._down = str(error)
                    raise
            self._down = ""
            if refusal is not None:
                raise refusal

    def _take(self, path: str, fresh: dict[str, Any]) -> bool:
        self._denied.pop(path, None)
        before = self._found.get(path, {})
        kept = {**before, **fresh}
        self._gone -= {self.options.at(path) + f"#{name}" for name in fresh}
        if path == PUBLIC and fresh:  # a public key that was taken away counts no more
            kept = fresh
        else:
            self._gone |= {self.options.at(path) + f"#{name}" for name in before.keys() - fresh.keys()}
        self._found[path] = kept
        return kept != before
