"""Values at rest: sealed with data keys, which are stored sealed themselves by a key-encryption key that is not."""

from stylobate.encryption.box import SealedInvalidError
from stylobate.encryption.data_keys import LOOK, DataKeys, DataKeyStanding
from stylobate.encryption.envelope import is_sealed, key_id_of, sealed_by
from stylobate.encryption.key_encryption import (
    NOT_THE_KEY,
    KeyEncryption,
    KeyNotOpenedError,
    SealedKey,
    SecretKeyEncryption,
)
from stylobate.encryption.opened_keys import DataKey

__all__ = [
    "LOOK",
    "NOT_THE_KEY",
    "DataKey",
    "DataKeyStanding",
    "DataKeys",
    "KeyEncryption",
    "KeyNotOpenedError",
    "SealedInvalidError",
    "SealedKey",
    "SecretKeyEncryption",
    "is_sealed",
    "key_id_of",
    "sealed_by",
]
