"""Access tokens that somebody made up or bent: by algorithm, by header, by the claims of clients and issuers."""

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from jwt.algorithms import RSAAlgorithm
from stylobate.errors import TokenInvalidError, UnauthenticatedError
from stylobate.identity.access_token import IssuerUnknownError, key_id_of, parse_jwks, verify_access_token
from stylobate.testing.rsa_key import rsa_key

NOW = 1_800_000_000
EDWARDS, RSA = Ed25519PrivateKey.generate(), rsa_key()
CLAIMS: dict[str, Any] = {
    "iss": "stylobate", "aud": "stylobate", "sub": "user-1", "client_id": "stylobate", "tenant": "default", "sid": "session-1",
    "jti": "token-1", "iat": NOW, "exp": NOW + 300, "roles": ["user"], "scope": "", "auth_time": NOW, "acr": "1", "amr": ["pwd"],
}  # fmt: skip
CLIENT: dict[str, Any] = {
    **{name: value for name, value in CLAIMS.items() if name not in {"sid", "auth_time", "acr", "amr"}},
    "sub": "robot-1", "client_id": "robot-1", "scope": "orders:read", "key": "key-7",
}  # fmt: skip
RS256 = {"alg": "RS256", "typ": "at+jwt", "kid": "key-1"}
PEM = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _input(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return ".".join(_b64(json.dumps(part).encode()) for part in (header, claims))


def _by_rsa(header: dict[str, Any], claims: dict[str, Any] = CLAIMS) -> str:
    signed = _input(header, claims)
    return f"{signed}.{_b64(RSA.sign(signed.encode(), padding.PKCS1v15(), SHA256()))}"


def _by_secret(header: dict[str, Any], secret: bytes) -> str:
    signed = _input(header, CLAIMS)
    return f"{signed}.{_b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _verify(token: str, key: Any = None, issuers: tuple[str, ...] = ("stylobate",)) -> Any:
    key_id_of(token)
    return verify_access_token(token, RSA.public_key() if key is None else key, NOW, issuers=issuers)


def test_a_good_one_of_either_kind_holds() -> None:
    """Signed with RSA, and of a client that acts for itself: it has the scopes of its key, and no session."""
    assert _verify(_by_rsa(RS256)).session == "session-1"
    who = _verify(_by_rsa(RS256, CLIENT))
    assert (who.id, who.session, who.key_id, who.is_key, who.sends_key) == ("robot-1", "", "key-7", True, False)
    assert who.lends("orders:read")
    assert not who.lends("orders:ship")


HOSTILE = {
    "EdDSA said, signed with RSA": _by_rsa({**RS256, "alg": "EdDSA"}),
    "HS256 with the public key": _by_secret({**RS256, "alg": "HS256"}, PEM),
    "RS256 said, HMAC with the public key": _by_secret(RS256, PEM),
    "PS256": _by_rsa({**RS256, "alg": "PS256"}),
    "RS512": _by_rsa({**RS256, "alg": "RS512"}),
    "in small letters": _by_rsa({**RS256, "alg": "rs256"}),
    "a list of algorithms": _by_rsa({**RS256, "alg": ["RS256"]}),
    "none": _input({**RS256, "alg": "none"}, CLAIMS) + ".",
    "none with a signature": _by_rsa({**RS256, "alg": "none"}),
    "no signature": _input(RS256, CLAIMS) + ".",
    "jku": _by_rsa({**RS256, "jku": "https://stranger.example/keys"}),
    "x5u": _by_rsa({**RS256, "x5u": "https://stranger.example/chain"}),
    "jwk": _by_rsa({**RS256, "jwk": RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True)}),
    "crit": _by_rsa({**RS256, "crit": ["exp"]}),
    "b64": _by_rsa({**RS256, "b64": False, "crit": ["b64"]}),
    "an ID token": _by_rsa({**RS256, "typ": "JWT"}),
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_a_bent_one_is_refused(token: str) -> None:
    """Whatever its header says: with either key."""
    for key in (RSA.public_key(), EDWARDS.public_key()):
        with pytest.raises(TokenInvalidError):
            _verify(token, key)


def test_a_key_verifies_its_own_algorithm_alone() -> None:
    """RS256 with an Ed25519 key and the other way round, also where both signatures are good."""
    by_edwards = jwt.encode(CLAIMS, EDWARDS, algorithm="EdDSA", headers={"typ": "at+jwt", "kid": "key-1"})
    assert _verify(by_edwards, EDWARDS.public_key()).id == "user-1"
    for token, key in ((by_edwards, RSA.public_key()), (_by_rsa(RS256), EDWARDS.public_key())):
        with pytest.raises(TokenInvalidError):
            _verify(token, key)


@pytest.mark.parametrize("kid", ["../../etc/passwd", "key-1' or '1'='1", "key-1\0", "https://stranger.example/key"])
def test_a_key_id_is_a_name_in_the_set_and_nothing_else(kid: str) -> None:
    """A path, a statement or an address as key id names no key."""
    keys = parse_jwks(json.dumps({"keys": [_jwk()]}).encode())
    assert keys.get(key_id_of(_by_rsa({**RS256, "kid": kid}))) is None
    assert keys.get(key_id_of(_by_rsa(RS256))) is not None


@pytest.mark.parametrize(
    "changes",
    [{"scope": ""}, {"scope": " "}, {"sid": "session-1"}, {"key": ""}, {"key": None}, {"key": 7}, {"client_id": "another"}],
    ids=str,
)
def test_a_client_has_scopes_a_key_and_no_session(changes: dict[str, Any]) -> None:
    """Without scopes it would lend all that its account may do; without its key nobody could end it."""
    with pytest.raises(UnauthenticatedError):
        _verify(_by_rsa(RS256, CLIENT | changes))


def test_an_issuer_is_one_that_auth_tells() -> None:
    """Exactly: another spelling of it is another issuer."""
    ours = _by_rsa(RS256, CLAIMS | {"iss": "https://api.example.com"})
    assert _verify(ours, issuers=("https://api.example.com",)).id == "user-1"
    for issuers in (("stylobate",), ("https://api.example.com/",), ("https://API.example.com",), ()):
        with pytest.raises(IssuerUnknownError):
            _verify(ours, issuers=issuers)


def _jwk(key: rsa.RSAPrivateKey = RSA, **changes: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "key-1", "alg": "RS256", "use": "sig"} | changes


@pytest.mark.parametrize("changes", [{"alg": "HS256"}, {"alg": "PS256"}, {"use": "enc"}, {"kty": "oct"}, {"n": "!"}], ids=str)
def test_an_rsa_key_that_is_not_for_this_is_left_out(changes: dict[str, Any]) -> None:
    """For another algorithm or use, or unreadable."""
    assert parse_jwks(json.dumps({"keys": [_jwk(**changes), _jwk(kid="good")]}).encode()).keys() == {"good"}


def test_a_short_rsa_key_is_left_out() -> None:
    """Below 2048 bits (RFC 7518 §3.3)."""
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    assert parse_jwks(json.dumps({"keys": [_jwk(short)]}).encode()) == {}
