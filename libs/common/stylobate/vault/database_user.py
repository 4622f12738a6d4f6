"""A user of the database that Vault makes for this process (database secrets engine), replaced before its time is over."""

from collections.abc import Callable
from time import monotonic
from urllib.parse import quote, urlsplit, urlunsplit

from stylobate.config import ConfigError
from stylobate.vault.client import VaultClient
from stylobate.vault.errors import VaultDeniedError, VaultError, VaultRefusedError

_SPENT = 0.5
"""Of its time, after which a lease is renewed; one that can be renewed for less than that is as good as over."""
_DOUBTED_AFTER_S = 60.0
"""How old a user is that is replaced because the server refuses it, though its lease is renewed: not one for each try."""


class DatabaseUser:
    """The user of this process in one database.

    A lease ends with the login that it was given to: after another login there is another user. Calls block,
    :meth:`for_url` only when it is the first.
    """

    def __init__(self, client: VaultClient, role: str, setting: str, clock: Callable[[], float] = monotonic) -> None:
        """Make nobody yet.

        :param role: of Vault's engine. :param setting: that names it, for who must set it right.
        """
        self._client = client
        self._clock = clock
        self._setting = setting
        self._path = f"{client.options.database_mount}/creds/{role}"
        self._name = self._password = self._lease = ""
        self._login = 0
        self._whole = 0.0
        self._ends = 0.0
        self._due = 0.0
        self._made_at = 0.0
        self._is_doubted = False

    @property
    def place(self) -> str:
        """Where the user comes from, for people."""
        return f"vault {self._path} at {self._client.options.address}"

    @property
    def left_s(self) -> float:
        """How long the user is there if nobody renews it; ``inf``: there is none."""
        return max(0.0, self._ends - self._clock()) if self._name else float("inf")

    @property
    def due_in_s(self) -> float:
        """When it is due to be renewed."""
        return max(0.0, self._due - self._clock()) if self._name else float("inf")

    def for_url(self, url: str) -> str:
        """Return the URL with the user and the password of this moment. Raises ConfigError where Vault gives none."""
        if not self._name:
            try:
                self._make()
            except VaultError as error:
                raise ConfigError([f"{self._setting}: {self.place}: {error}"]) from None
        parts = urlsplit(url)
        who = f"{quote(self._name, safe='')}:{quote(self._password, safe='')}"
        return urlunsplit(parts._replace(netloc=f"{who}@{parts.netloc.rpartition('@')[2]}"))

    def doubt(self) -> None:
        """Take note that the server refused it: look at its lease soon, or have another one made."""
        self._due = 0.0
        self._is_doubted = True

    def look(self) -> bool:
        """Renew it where that is due, or have another one made; return whether it is another one. Raises VaultError."""
        if not self._name:
            return False
        if self._login == self._client.logins and self.due_in_s:
            return False
        is_refused = self._is_doubted and self._clock() - self._made_at >= _DOUBTED_AFTER_S
        self._is_doubted = False
        if is_refused or self._login != self._client.logins:
            return self._make()
        try:
            left_s = self._client.renew(self._lease)
        except (VaultRefusedError, VaultDeniedError):  # it is over, or may not be renewed
            return self._make()
        if left_s <= self._whole * _SPENT:
            return self._make()
        self._holds(left_s)
        return False

    def _make(self) -> bool:
        given = self._client.lease(self._path)
        self._name, self._password, self._lease = given.values["username"], given.values["password"], given.id
        self._login, self._whole = self._client.logins, given.seconds
        self._made_at, self._is_doubted = self._clock(), False
        self._holds(given.seconds)
        return True

    def _holds(self, seconds: float) -> None:
        self._ends = self._clock() + seconds
        self._due = self._clock() + seconds * _SPENT
