"""What a token must look like, for access tokens and for services' tokens: every header and claim, in every wrong form."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from stylobate.errors import TokenInvalidError, UnauthenticatedError
from stylobate.identity.access_token import key_id_of, parse_jwks, verify_access_token
from stylobate.identity.service_identity import ServiceIdentity

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.generate()
ACCESS = {
    "iss": "stylobate", "aud": "stylobate", "sub": "user-1", "tenant": "default", "sid": "session-1", "jti": "token-1",
    "iat": NOW, "exp": NOW + 300, "roles": ["user"], "scope": "a b",
}  # fmt: skip
SERVICE = {"iss": "service:state", "sub": "service:state", "aud": "actions", "iat": NOW, "exp": NOW + 300, "jti": "token-1"}


def _verify_access(token: str) -> None:
    key_id_of(token)
    verify_access_token(token, KEY.public_key(), NOW)


def _verify_service(token: str) -> None:
    own = Ed25519PrivateKey.generate()
    keys = {"actions": own.public_key(), "state": KEY.public_key()}
    assert ServiceIdentity("actions", own, keys, lambda: NOW).verify(token) == "state"


KINDS: dict[str, tuple[Callable[[str], None], dict[str, Any], dict[str, Any]]] = {
    "access": (_verify_access, {"alg": "EdDSA", "typ": "at+jwt", "kid": "key-1"}, ACCESS),
    "service": (_verify_service, {"alg": "EdDSA", "typ": "st+jwt", "kid": "state"}, SERVICE),
}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _sign(header: Any, claims: Any) -> str:
    """Return a token that is truly signed, whatever is in it; text and bytes go in as they are."""
    parts = [
        part if isinstance(part, bytes) else (part if isinstance(part, str) else json.dumps(part)).encode()
        for part in (header, claims)
    ]
    signed = ".".join(map(_b64, parts))
    return f"{signed}.{_b64(KEY.sign(signed.encode()))}"


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    """Give each kind of token: how it is verified, its header, its claims."""
    return KINDS[request.param]


def test_the_good_ones_hold(kind: Any) -> None:
    """Both are accepted as we sign them, with times in fractions and with `nbf` that has passed."""
    verify, header, claims = kind
    verify(_sign(header, claims))
    verify(_sign(header, claims | {"iat": NOW - 0.5, "exp": NOW + 10.25, "nbf": NOW - 1}))
    verify(_sign(header, claims | {"nbf": NOW + 29}))


TIMES = {
    "text": "1800000000", "words": "tomorrow", "true": True, "null": None, "list": [NOW], "object": {}, "negative": -1,
    "year 10000": 253_402_300_800, "beyond floats": 1e308,
}  # fmt: skip


@pytest.mark.parametrize("value", TIMES.values(), ids=TIMES)
@pytest.mark.parametrize("name", ["iat", "exp", "nbf"])
def test_a_time_is_a_number(kind: Any, name: str, value: Any) -> None:
    """Times are numbers that a calendar knows: no text, no truth, nothing."""
    verify, header, claims = kind
    with pytest.raises(TokenInvalidError):
        verify(_sign(header, claims | {name: value}))


@pytest.mark.parametrize("digits", ["9" * 400, "1e400", "-1e400", "NaN", "Infinity", "1" + "0" * 30], ids=lambda text: text[:8])
@pytest.mark.parametrize("name", ["iat", "exp", "nbf"])
def test_a_number_without_end_is_refused(kind: Any, name: str, digits: str) -> None:
    """Whatever the digits, it is a refusal and no other error."""
    verify, header, claims = kind
    text = json.dumps(claims | {name: "HERE"}).replace('"HERE"', digits)
    with pytest.raises(TokenInvalidError):
        verify(_sign(header, text))


@pytest.mark.parametrize(
    "changes", [{"nbf": NOW + 31}, {"iat": NOW + 31, "exp": NOW + 300}, {"exp": NOW}, {"exp": NOW - 1}], ids=str
)
def test_its_time_must_be_now(kind: Any, changes: dict[str, int]) -> None:
    """Not before `nbf` and `iat`, but for what clocks may differ by; not from `exp` on."""
    verify, header, claims = kind
    with pytest.raises(UnauthenticatedError):
        verify(_sign(header, claims | changes))


@pytest.mark.parametrize("value", [None, 7, True, "", [], ["x"], {}], ids=str)
@pytest.mark.parametrize("name", ["iss", "aud", "sub", "tenant", "sid", "jti"])
def test_a_name_is_text(kind: Any, name: str, value: Any) -> None:
    """Every claim that names somebody is text and not empty; one that is missing is no better."""
    verify, header, claims = kind
    if name not in claims or (name == "jti" and claims is SERVICE):
        return  # services have no tenant and no session, and their tokens' ids are for logs
    without = {key: found for key, found in claims.items() if key != name}
    for wrong in (claims | {name: value}, without):
        with pytest.raises(TokenInvalidError):
            verify(_sign(header, wrong))


@pytest.mark.parametrize(
    "changes", [{"roles": "admin"}, {"roles": [7]}, {"roles": {"admin": True}}, {"scope": ["a"]}, {"scope": 7}], ids=str
)
def test_roles_and_scope_have_their_shape(changes: dict[str, Any]) -> None:
    """A list of texts, and a text."""
    verify, header, claims = KINDS["access"]
    with pytest.raises(TokenInvalidError):
        verify(_sign(header, claims | changes))


HEADERS: list[dict[str, Any]] = [
    {"alg": "none"}, {"alg": "eddsa"}, {"alg": "ES256"}, {"alg": "HS256"}, {"alg": None}, {"alg": ["EdDSA"]},
    {"typ": "JWT"}, {"typ": None}, {"typ": "AT+JWT"}, {"typ": "application/at+jwt"}, {"typ": "xx+jwt"},
    {"kid": None}, {"kid": ""}, {"kid": 7}, {"kid": ["key-1"]},
    {"crit": ["exp"]}, {"crit": []}, {"b64": False}, {"jwk": {"kty": "OKP"}}, {"jku": "https://example.com"}, {"x5u": "x"},
    {"x5c": ["x"]}, {"zip": "DEF"}, {"cty": "JWT"}, {"enc": "A128GCM"},
]  # fmt: skip


@pytest.mark.parametrize("changes", HEADERS, ids=str)
def test_a_header_says_what_we_say(kind: Any, changes: dict[str, Any]) -> None:
    """Another algorithm, another kind, or anything that would change what the rest means is refused, signed or not."""
    verify, header, claims = kind
    with pytest.raises(TokenInvalidError):
        verify(_sign(header | changes, claims))


def _encodings(value: Any) -> dict[str, bytes]:
    text = json.dumps(value)
    return {
        "UTF-16": text.encode("utf-16"), "UTF-16 little": text.encode("utf-16-le"), "UTF-32": text.encode("utf-32"),
        "a mark": b"\xef\xbb\xbf" + text.encode(), "Latin-1": text.replace("{", '{"\xe9": 1, ', 1).encode("latin-1"),
        "a list": b"[1]", "a number": b"7", "nothing": b"null", "no JSON": b"{", "two": text.encode() * 2, "deep": b"[" * 5000,
    }  # fmt: skip


@pytest.mark.parametrize("encoding", _encodings({}))
@pytest.mark.parametrize("place", ["header", "claims"])
def test_only_json_in_utf8_is_read(kind: Any, place: str, encoding: str) -> None:
    """Header and claims are one JSON object each, in UTF-8."""
    verify, header, claims = kind
    parts = (_encodings(header)[encoding], claims) if place == "header" else (header, _encodings(claims)[encoding])
    with pytest.raises(TokenInvalidError):
        verify(_sign(*parts))


def test_a_token_has_one_spelling(kind: Any) -> None:
    """Padding, spare bits, other alphabets, spaces, more or fewer parts: nothing that would decode to the same is the same."""
    verify, header, claims = kind
    token = _sign(header, claims)
    verify(token)
    head, body, signature = token.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = [signature[:-1] + letter for letter in alphabet if letter != signature[-1]]
    same = [other for other in spare if base64.urlsafe_b64decode(other + "==") == base64.urlsafe_b64decode(signature + "==")]
    assert same
    others = [f"{head}.{body}.{other}" for other in same]
    others += [f"{head}.{body}.{signature}{pad}" for pad in ("=", "==", " ", "\n", ".", ".x", "A")]
    others += [f"{head}=.{body}.{signature}", f"{head}.{body}=.{signature}", f" {token}", f"{token}\n", token.replace(".", ". ")]
    others += [f"{head}.{body}", f"{head}..{signature}", f"..{signature}", f"{head}.{body}.", token.swapcase()]
    others += [token.replace("-", "+").replace("_", "/") + "/", f"{head}\0.{body}.{signature}"]
    for other in others:
        with pytest.raises(TokenInvalidError):
            verify(other)


def _jwk(**changes: Any) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "kid": "key-1", "x": _b64(KEY.public_key().public_bytes_raw())} | changes


UNUSABLE: dict[str, Any] = {
    "for encryption": _jwk(use="enc"), "of another algorithm": _jwk(alg="ECDH-ES"), "for signing": _jwk(key_ops=["sign"]),
    "without an id": _jwk(kid=None), "of another curve": _jwk(crv="X25519"), "of another kind": {"kty": "RSA", "kid": "key-1"},
    "short": _jwk(x=_b64(b"1" * 31)), "long": _jwk(x=_b64(b"1" * 33)), "no base64": _jwk(x="!!"), "no text": _jwk(x=7),
    "without x": _jwk(x=None), "no object": 7, "nothing": None,
    **{f"of low order, {number}": _jwk(x=_b64(bytes.fromhex(text))) for number, text in enumerate((
        "00" * 32, "01" + "00" * 31, "00" * 31 + "80", "01" + "00" * 30 + "80",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        *(first + "ff" * 30 + last for first in ("ec", "ed", "ee") for last in ("7f", "ff")),
    ))},
}  # fmt: skip


@pytest.mark.parametrize("entry", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_left_out(entry: Any) -> None:
    """One key of a set that is for something else, or cannot be read, costs the others nothing (RFC 7517 §5)."""
    good = _jwk(kid="good", use="sig", alg="EdDSA", key_ops=["verify"])
    assert list(parse_jwks(json.dumps({"keys": [entry, good]}).encode())) == ["good"]


def test_of_two_keys_with_one_id_the_first_counts() -> None:
    """Nobody replaces a key by adding another one under its id."""
    other = _b64(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    found = parse_jwks(json.dumps({"keys": [_jwk(), _jwk(x=other)]}).encode())
    assert found["key-1"].public_bytes_raw() == KEY.public_key().public_bytes_raw()
