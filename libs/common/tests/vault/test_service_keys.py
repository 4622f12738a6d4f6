"""Keys of services in Vault: exchanged while both sides work, a key that was taken away counts no more."""

from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.config import ConfigError
from stylobate.errors import TokenInvalidError
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.identity.stored_keys import StoredKeys
from stylobate.testing.until import until
from stylobate.vault.manager import VaultManager

_PEM = serialization.Encoding.PEM


def pair() -> tuple[str, str]:
    """Return a private key and its public half, in PEM."""
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private.decode(), made.public_key().public_bytes(_PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def is_signed_by(token: str, public: str) -> bool:
    """Return whether it is signed with that key's private half."""
    try:
        jwt.decode(token, public, algorithms=["EdDSA"], audience="auth")
    except jwt.InvalidSignatureError:
        return False
    return True


async def test_a_key_is_exchanged_while_both_sides_work(vault, monkeypatch) -> None:
    """The new public key beside the old one, then the private one, then the old one goes: tokens hold until then."""
    monkeypatch.setattr("stylobate.identity.service_identity._LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("stylobate.identity.service_identity._LOOK_PAUSE_S", 0.0)
    (auth, auth_public), (old, old_public), (new, new_public) = pair(), pair(), pair()
    vault.put("keys/auth", identity_key=auth)
    vault.put("keys/state", identity_key=old)
    vault.put("keys/identity", auth=auth_public, state=old_public)
    manager = VaultManager(vault.options("keys", refresh=timedelta(milliseconds=200)))
    async with manager.open():
        verifier = ServiceIdentity.of("auth", StoredKeys("auth", manager.secrets))
        signer = ServiceIdentity.of("state", StoredKeys("state", manager.secrets))
        by_old = signer.token("auth")
        assert verifier.verify(by_old) == "state"
        vault.put("keys/identity", **{"auth": auth_public, "state": old_public, "state.next": new_public})
        await until(lambda: "state.next" in manager.secrets.all("identity"))
        vault.put("keys/state", identity_key=new)
        by_new = await until(lambda: signer.token("auth"), lambda token: is_signed_by(token, new_public))
        assert verifier.verify(by_new) == verifier.verify(by_old) == "state"
        vault.put("keys/identity", auth=auth_public, state=new_public)
        await until(lambda: "state.next" not in manager.secrets.all("identity"))
        assert verifier.verify(by_new) == "state"
        with pytest.raises(TokenInvalidError):
            verifier.verify(by_old)
        vault.put("keys/identity", auth="nonsense", state=new_public)
        await until(lambda: manager.secrets.all("identity")["auth"] == "nonsense")
        assert verifier.verify(by_new) == "state"  # with the keys read before
        assert not (await manager.health()).details


def test_a_key_that_is_missing_or_wrong_stops_the_start(vault) -> None:
    """One line with its place in Vault, and nothing of the key."""
    (private, public), (_, other) = pair(), pair()
    for values, said in (
        ({}, "secret/stylobate/wrong/auth#identity_key at .*: missing; write it there"),
        ({"auth": {"identity_key": private}}, "secret/stylobate/wrong/identity#auth at .*: missing; write it there"),
        ({"identity": {"auth": other}}, "auth#identity_key at .*: does not belong to .*identity#auth"),
        (
            {"identity": {"auth": public}, "auth": {"identity_key": "hush"}},
            "auth#identity_key at .*: cannot be read as a private",
        ),
    ):
        for path, texts in values.items():
            vault.put(f"wrong/{path}", **texts)
        secrets = VaultManager(vault.options("wrong")).secrets
        with pytest.raises(ConfigError, match=said) as refused:
            ServiceIdentity.of("auth", StoredKeys("auth", secrets))
        assert "hush" not in str(refused.value)
