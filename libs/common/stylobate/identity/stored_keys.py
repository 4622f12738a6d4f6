"""The keys of services in a store of settings, which Vault is: read, and read again when they change."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stylobate.config import ConfigError
from stylobate.identity.service_keys import PublicKeys, key_of
from stylobate.logs import get_logger

PUBLIC = "identity"
"""The path with the public keys of all services: ``<service>`` or ``<service>.<label>``, each a PEM text."""
PRIVATE = "identity_key"
"""At a service's own path."""
_log = get_logger("security")


class Stored(Protocol):
    """What is asked of the store. Nothing here waits, once a path was read."""

    @property
    def problem(self) -> str:
        """Why it cannot be read at the moment; empty: it can."""

    def place(self, path: str, name: str) -> str:
        """Return where a value stands, for people."""

    def all(self, path: str) -> Mapping[str, Any]:
        """Return all values of a path."""


class StoredKeys:
    """The public keys of every service, and the private one of this service, as :class:`KeyFolder` has them."""

    def __init__(self, name: str, store: Stored) -> None:
        self._name = name
        self._store = store
        self._seen: object = None

    def read(self) -> tuple[Ed25519PrivateKey, PublicKeys]:
        """Return the private key and the public ones.

        :raises ConfigError: one is missing or no Ed25519 key, or the private key is not one that the others know.
        """
        self._seen = self._state()
        public: dict[str, list[Ed25519PublicKey]] = {}
        for label, text in sorted(self._store.all(PUBLIC).items()):
            load = serialization.load_pem_public_key
            key = key_of(str(text).encode(), load, Ed25519PublicKey, self._store.place(PUBLIC, label))
            public.setdefault(label.partition(".")[0], []).append(key)
        where = self._store.place(self._name, PRIVATE)
        text = self._store.all(self._name).get(PRIVATE)
        if not text or self._name not in public:
            missing = where if not text else self._store.place(PUBLIC, self._name)
            raise ConfigError([f"STYLOBATE_VAULT_IDENTITY: {missing}: {self._store.problem or 'missing; write it there'}"])
        load_private = partial(serialization.load_pem_private_key, password=None)
        private: Ed25519PrivateKey = key_of(str(text).encode(), load_private, Ed25519PrivateKey, where)
        if private.public_key().public_bytes_raw() not in [key.public_bytes_raw() for key in public[self._name]]:
            raise ConfigError([f"STYLOBATE_VAULT_IDENTITY: {where}: does not belong to {self._store.place(PUBLIC, self._name)}"])
        return private, public

    def read_again(self) -> tuple[Ed25519PrivateKey, PublicKeys] | None:
        """Return the keys when one has changed since; None when none has, or when they cannot be used as they are now."""
        if self._state() == self._seen:
            return None
        try:
            return self.read()
        except ConfigError as error:
            _log.error("service_keys_not_read", problems=error.findings, cure="the keys read before are used on")
            return None

    def _state(self) -> object:
        return dict(self._store.all(PUBLIC)), self._store.all(self._name).get(PRIVATE)
