"""Signing keys and access tokens."""

import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.config import ConfigError
from stylobate.identity.access_token import key_id_of, parse_jwks, verify_access_token
from stylobate_auth.jwt_manager import JWTManager, signing_key
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.model import Account, Session
from stylobate_auth.signing_key import public_jwk, thumbprint

NOW = datetime(2030, 1, 1, 12, 0, 0, 600_000, tzinfo=UTC)
ACCOUNT = Account("default", "user-1", "ada@example.com", "Ada", ("clerk", "user"), False, NOW)
SESSION = Session("default", "session-1", "user-1", NOW, NOW + timedelta(days=30), NOW + timedelta(minutes=10))


def _pem(key: object) -> str:
    return key.private_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_what_auth_signs_every_service_verifies() -> None:
    """The key set and the token fit the library's verification, claim by claim."""
    ring = KeyRing.of(signing_key("x" * 64))
    token = JWTManager(ring, timedelta(minutes=10)).sign(ACCOUNT, SESSION, NOW)
    key = parse_jwks(ring.jwks(NOW))[key_id_of(token)]
    principal = verify_access_token(token, key, NOW.timestamp())
    assert (principal.id, principal.tenant, principal.session) == ("user-1", "default", "session-1")
    assert (principal.roles, principal.scopes) == (("clerk", "user"), frozenset())
    assert principal.issued_at == NOW.timestamp()  # with its fraction: a login in the second of "end everything" holds
    assert principal.expires_at <= (NOW + timedelta(minutes=10)).timestamp()
    assert jwt.get_unverified_header(token) == {"alg": "EdDSA", "typ": "at+jwt", "kid": ring.signer(NOW).key_id}


def test_each_token_has_an_id_of_its_own() -> None:
    """Two tokens of one second differ."""
    manager = JWTManager(KeyRing.of(signing_key("x" * 64)), timedelta(minutes=10))
    assert manager.sign(ACCOUNT, SESSION, NOW) != manager.sign(ACCOUNT, SESSION, NOW)


def test_the_key_set_holds_no_private_part() -> None:
    """Only the public members are published."""
    (jwk,) = json.loads(KeyRing.of(signing_key("x" * 64)).jwks(NOW))["keys"]
    assert jwk.keys() == {"crv", "kty", "x", "kid", "alg", "use"}


def test_the_thumbprint_is_the_standards() -> None:
    """The example of RFC 8037, appendix A.3."""
    public = {"crv": "Ed25519", "kty": "OKP", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_derivation_never_changes() -> None:
    """The same text gives the same key in every release: a change would end all sessions."""
    assert public_jwk(signing_key("x" * 64))["kid"] == "me7ozj_t1J6AFQGgEFuOOsJElKEWJcX08NTvfdiLjQE"
    assert signing_key("y" * 64).public_key() != signing_key("x" * 64).public_key()


def test_a_pem_block_is_taken_as_it_is() -> None:
    """A key made elsewhere signs."""
    key = Ed25519PrivateKey.generate()
    assert signing_key(_pem(key)).public_key() == key.public_key()
    assert signing_key("\n" + _pem(key)).public_key() == key.public_key()


@pytest.mark.parametrize(
    ("material", "finding"),
    [
        ("", "at least 32 characters"),
        ("short", "at least 32 characters"),
        ("-----BEGIN PRIVATE KEY-----\njunk\n-----END PRIVATE KEY-----", "cannot be read"),
        (_pem(generate_private_key(SECP256R1())), "not an Ed25519 key"),
    ],
    ids=["empty", "short", "broken", "another kind"],
)
def test_a_bad_signing_key_stops_the_start(material: str, finding: str) -> None:
    """One line names the setting and what is wrong, and does not show the key."""
    with pytest.raises(ConfigError, match=f"STYLOBATE_AUTH_SIGNING_KEY: .*{finding}") as stopped:
        signing_key(material)
    assert "junk" not in str(stopped.value)
