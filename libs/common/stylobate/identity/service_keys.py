"""The files of services' keys: made, read, and read again when they change."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stylobate.config import ConfigError, write_beside, write_once
from stylobate.logs import get_logger

PublicKeys = Mapping[str, Sequence[Ed25519PublicKey]]
"""By service name; a service has several while its key is exchanged."""

_PUBLIC = ".pub.pem"
_PEM = serialization.Encoding.PEM
_SETTING, _PRIVATE_SETTING = "STYLOBATE_IDENTITY_FOLDER", "STYLOBATE_IDENTITY_PRIVATE_KEY"
_log = get_logger("security")


class ServiceKeys(Protocol):
    """Where the keys of services are: a folder, or a store such as Vault."""

    def read(self) -> tuple[Ed25519PrivateKey, PublicKeys]:
        """Return this service's private key and all public ones. Raises ConfigError."""

    def read_again(self) -> tuple[Ed25519PrivateKey, PublicKeys] | None:
        """Return them when one has changed since; None when none has, or when they cannot be used as they are now."""


class KeyFolder:
    """The folder with the public keys of every service, and this service's private key.

    A service's public keys are ``<service>.pub.pem`` and ``<service>.<label>.pub.pem``, any number of them.

    :param name: this service. :param private: the file of its private key.
    """

    def __init__(self, name: str, private: Path, folder: Path) -> None:
        self._name = name
        self._private = private
        self._folder = folder
        self._seen: object = None

    def read(self) -> tuple[Ed25519PrivateKey, PublicKeys]:
        """Return the private key and the public ones.

        :raises ConfigError: a file is missing or no Ed25519 key, or the private key is not one that the others know.
        """
        self._seen = self._state()
        private = _read_private(self._private, _SETTING if self._private.parent == self._folder else _PRIVATE_SETTING)
        public: dict[str, list[Ed25519PublicKey]] = {}
        for path in sorted(self._folder.glob(f"*{_PUBLIC}")):
            public.setdefault(path.name.removesuffix(_PUBLIC).partition(".")[0], []).append(_read_public(path))
        known = [key.public_bytes_raw() for key in public.get(self._name, ())]
        if not known:
            raise ConfigError(
                [f"{_SETTING}: {self._folder / self._name}{_PUBLIC}: missing; the other services need it to know {self._name}"]
            )
        if private.public_key().public_bytes_raw() not in known:
            raise ConfigError([f"{_SETTING}: {self._private}: does not belong to {self._folder / self._name}{_PUBLIC}"])
        return private, public

    def read_again(self) -> tuple[Ed25519PrivateKey, PublicKeys] | None:
        """Return the keys when a file has changed since; None when none has, or when they cannot be used as they are now."""
        if self._state() == self._seen:
            return None
        try:
            return self.read()
        except ConfigError as error:
            _log.error("service_keys_not_read", problems=error.findings, cure="the keys read before are used on")
            return None

    def _state(self) -> object:
        """Return what changes when a file does."""
        try:
            files = [self._private, *sorted(self._folder.glob(f"*{_PUBLIC}"))]
            return [(file.name, status.st_mtime_ns, status.st_ino, status.st_size) for file in files for status in (file.stat(),)]
        except OSError:
            return None  # something is being exchanged at this moment


def generate_service_keys(folder: Path, names: Iterable[str]) -> None:
    """Write ``<name>.pem`` (0600) and ``<name>.pub.pem`` for each name that has none; several processes may do so at once.

    An existing private key is kept, and its public half written again where it is missing or another one's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        private_file, public_file = folder / f"{name}.pem", folder / f"{name}.pub.pem"
        if not private_file.exists():
            made = Ed25519PrivateKey.generate()
            write_once(private_file, made.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        key = _read_private(private_file).public_key()
        public = key.public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        if not public_file.exists() or public_file.read_bytes() != public:
            write_beside(public_file, public, 0o644).replace(public_file)


def _read_private(path: Path, setting: str = _SETTING) -> Ed25519PrivateKey:
    if not path.exists():
        raise ConfigError([f"{setting}: {path}: missing; it holds this service's Ed25519 key"])
    load = partial(serialization.load_pem_private_key, password=None)
    key: Ed25519PrivateKey = _read(path, load, Ed25519PrivateKey, setting)
    return key


def _read_public(path: Path) -> Ed25519PublicKey:
    key: Ed25519PublicKey = _read(path, serialization.load_pem_public_key, Ed25519PublicKey, _SETTING)
    return key


def _read(path: Path, load: Callable[[bytes], object], kind: Any, setting: str) -> Any:
    """Return the key in a file. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError([f"{setting}: {path}: cannot be read ({type(error).__name__})"]) from error
    return key_of(text, load, kind, f"{setting}: {path}")


def key_of(text: bytes, load: Callable[[bytes], object], kind: Any, where: str) -> Any:
    """Return the key in a PEM text. Raises ConfigError."""
    try:
        key = load(text)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        half = "private" if kind is Ed25519PrivateKey else "public"
        raise ConfigError([f"{where}: cannot be read as a {half} key ({type(error).__name__})"]) from error
    if not isinstance(key, kind):
        raise ConfigError([f"{where}: not an Ed25519 key"])
    return key
