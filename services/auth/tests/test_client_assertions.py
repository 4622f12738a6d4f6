"""`private_key_jwt`: what a client signs counts once, for us and for now; and which public keys are taken."""

import itertools
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import jwt
import jwt.algorithms
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.public_key import read_public_key
from stylobate.ids import new_id
from stylobate.testing.rsa_key import rsa_key
from stylobate_auth.api_key import ApiKey, ApiKeyDraft, NewApiKey, Standing
from stylobate_auth.client_assertion import ClientAssertions
from stylobate_auth.errors import AuthInvalidInputError, OAuthClientError, PublicKeyTakenError
from stylobate_auth.model import AccountDraft

from .conftest import PASSWORD, Auth
from .stores import NOW, add_account, new_account

ISSUER = "https://api.example.com"
ENDPOINT = f"{ISSUER}/oauth2/token"
DAY = timedelta(days=1)
ED, EC = ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())
RSA = rsa_key()


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _jwk(key: Any, **more: Any) -> str:
    by_kind: tuple[tuple[type, Any], ...] = (
        (rsa.RSAPrivateKey, jwt.algorithms.RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, jwt.algorithms.ECAlgorithm),
        (object, jwt.algorithms.OKPAlgorithm),
    )
    found = next(algorithm for kind, algorithm in by_kind if isinstance(key, kind)).to_jwk(key.public_key(), as_dict=True)
    return json.dumps({**found, **more})


class Client:
    """A service account with a public key."""

    def __init__(self, auth: Auth, root: Principal, owner: str) -> None:
        self.auth = auth
        self.root = root
        self.id = owner
        self.assertions = ClientAssertions(auth.store, [ISSUER, ENDPOINT], clock=auth.clock)

    async def register(self, key: Any, **more: Any) -> ApiKey:
        """Register a public key."""
        draft = ApiKeyDraft("key", ("orders:read",), owner=self.id, public_key=_jwk(key, **more))
        made, text = await self.auth.keys.create(self.root, draft, self.auth.origin)
        assert text == ""
        return made

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Return what a client says; None takes a claim away."""
        now = self.auth.clock().timestamp()
        found = {"iss": self.id, "sub": self.id, "aud": ISSUER, "jti": new_id(), "iat": now, "exp": now + 60} | changes
        return {name: value for name, value in found.items() if value is not None}

    def sign(self, key: Any = ED, algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return an assertion."""
        return jwt.encode(self.claims(**changes), key, algorithm=algorithm, headers=headers)

    async def prove(self, assertion: str, client_id: str = "") -> ApiKey:
        """Send it."""
        return await self.assertions.prove(assertion, client_id)


@pytest.fixture
async def client(auth: Auth) -> Client:
    """Return a client without a key."""
    draft = AccountDraft("root@example.com", PASSWORD, roles=("admin",))
    root = Principal(PrincipalKind.USER, (await auth.accounts.create(auth.service, draft, auth.origin)).id, session="s")
    return Client(auth, root, (await auth.machines.create(root, "robot", ["clerk"], auth.origin)).id)


@pytest.mark.parametrize(
    ("key", "algorithm", "more"),
    [
        (ED, "EdDSA", {}),
        (EC, "ES256", {"kid": "mine", "use": "sig"}),
        (RSA, "RS256", {}),
        (RSA, "PS256", {"alg": "PS256", "key_ops": ["verify"]}),
    ],
)
async def test_a_client_proves_itself_by_what_it_signs(client: Client, key: Any, algorithm: str, more: dict[str, Any]) -> None:
    """With and without a key id, for the issuer or the token endpoint; each assertion counts once."""
    made = await client.register(key, **more)
    kid = read_public_key(made.public_key).id
    for headers, changes in (
        ({}, {}),
        ({"kid": kid}, {"aud": ENDPOINT}),
        ({"typ": "client-authentication+jwt"}, {"aud": [ISSUER, ENDPOINT], "iat": None}),
    ):
        assertion = client.sign(key, algorithm, headers, **changes)
        proven = await client.prove(assertion, client.id)
        assert proven == made
        assert client.auth.keys.stands(proven).standing is Standing.VALID
        with pytest.raises(OAuthClientError, match="used before"):
            await client.prove(assertion)


HOSTILE: dict[str, Callable[[Client], str]] = {
    "signed by another": lambda c: c.sign(ed25519.Ed25519PrivateKey.generate()),
    "another algorithm than the key's": lambda c: c.sign(RSA, "PS256"),
    "the public key as a secret": lambda c: c.sign("x" * 64, "HS256"),
    "unsigned": lambda c: c.sign(None, "none"),
    "a header says RS256 over EdDSA's signature": lambda c: _with_header(c.sign(), {"alg": "RS256"}),
    "a header brings a key": lambda c: c.sign(headers={"jwk": json.loads(_jwk(ED))}),
    "a header names a place": lambda c: c.sign(headers={"jku": f"{ISSUER}/keys"}),
    "a critical header": lambda c: c.sign(headers={"crit": ["exp"]}),
    "a payload that is not encoded": lambda c: c.sign(headers={"b64": False, "crit": ["b64"]}),
    "compressed": lambda c: c.sign(headers={"zip": "DEF"}),
    "an unknown key id": lambda c: c.sign(headers={"kid": "another"}),
    "a key id that is none": lambda c: _with_header(c.sign(), {"kid": 1}),
    "an access token": lambda c: c.sign(headers={"typ": "at+jwt"}),
    "of another issuer": lambda c: c.sign(iss=new_id()),
    "of another subject": lambda c: c.sign(sub=new_id()),
    "of no subject": lambda c: c.sign(sub=None),
    "of a subject that is no id": lambda c: c.sign(sub="x"),
    "for nobody": lambda c: c.sign(aud=None),
    "for an empty list": lambda c: c.sign(aud=[]),
    "for somebody else": lambda c: c.sign(aud="https://other.example"),
    "for us and somebody else": lambda c: c.sign(aud=[ISSUER, "https://other.example"]),
    "for the issuer in another spelling": lambda c: c.sign(aud=f"{ISSUER}/"),
    "without an end": lambda c: c.sign(exp=None),
    "over": lambda c: c.sign(exp=c.auth.clock().timestamp()),
    "for a day": lambda c: c.sign(exp=c.auth.clock().timestamp() + 86_400),
    "an end that is text": lambda c: c.sign(exp="9999999999"),
    "not yet": lambda c: c.sign(nbf=c.auth.clock().timestamp() + 60),
    "from the future": lambda c: c.sign(iat=c.auth.clock().timestamp() + 60),
    "without an id": lambda c: c.sign(jti=None),
    "an id that is a number": lambda c: _signed(c.claims() | {"jti": 7}),
    "an id that is long": lambda c: c.sign(jti="x" * 257),
    "two dots too many": lambda c: c.sign() + "..",
    "padded": lambda c: c.sign() + "==",
    "cut": lambda c: c.sign()[:-4],
    "nothing": lambda _: "",
    "a list": lambda _: _signed([]),
    "nested deeply": lambda _: _with_payload("[" * 4000),
    "nested": lambda c: _with_payload(c.sign()),
    "long": lambda c: c.sign(more="x" * 8192),
}


def _with_header(token: str, header: dict[str, Any]) -> str:
    return ".".join((_b64(json.dumps({"alg": "EdDSA", "typ": "JWT"} | header).encode()), *token.split(".")[1:]))


def _signed(claims: Any) -> str:
    return jwt.PyJWS().encode(json.dumps(claims).encode(), ED, algorithm="EdDSA")


def _with_payload(text: str) -> str:
    return jwt.PyJWS().encode(text.encode(), ED, algorithm="EdDSA")


@pytest.mark.parametrize("name", HOSTILE)
async def test_what_proves_nothing_is_refused(client: Client, name: str) -> None:
    """Nothing is written down for it, and a good one counts afterwards."""
    made = await client.register(ED)
    await client.register(RSA, alg="RS256")
    with pytest.raises(OAuthClientError):
        await client.prove(HOSTILE[name](client))
    assert not client.auth.store._tables.assertions
    assert await client.prove(client.sign()) == made


async def test_a_client_is_who_it_says_beside_its_assertion(client: Client) -> None:
    """Another id in the form is refused before anything counts as used."""
    await client.register(ED)
    assertion = client.sign()
    with pytest.raises(OAuthClientError):
        await client.prove(assertion, new_id())
    await client.prove(assertion, client.id)


async def test_keys_are_exchanged_with_an_overlap(client: Client) -> None:
    """Both prove the client until the old one's end; a public key is never followed by a secret, nor by itself."""
    auth, old = client.auth, await client.register(ED)
    for public_key in ("", _jwk(EC, d="AA")):
        with pytest.raises(AuthInvalidInputError):
            await auth.keys.rotate(client.root, old.id, DAY, auth.origin, public_key=public_key)
    with pytest.raises(PublicKeyTakenError):
        await auth.keys.rotate(client.root, old.id, DAY, auth.origin, public_key=_jwk(ED))
    new, text = await auth.keys.rotate(client.root, old.id, DAY, auth.origin, public_key=_jwk(EC))
    assert (text, new.scopes, new.owner, auth.keys.prefix(new)) == ("", old.scopes, client.id, "")
    for key, algorithm, known in ((ED, "EdDSA", old), (EC, "ES256", new)):
        proven = await client.prove(client.sign(key, algorithm))
        assert (proven.id, auth.keys.stands(proven).standing) == (known.id, Standing.VALID)
    auth.clock.advance(DAY)
    assert auth.keys.stands(await client.prove(client.sign())).standing is Standing.EXPIRED
    await auth.keys.revoke(client.root, new.id, auth.origin)
    with pytest.raises(OAuthClientError):
        await client.prove(client.sign(EC, "ES256"))
    secret, _ = await auth.keys.create(client.root, ApiKeyDraft("secret", owner=client.id), auth.origin)
    with pytest.raises(AuthInvalidInputError, match="not valid") as caught:
        await auth.keys.rotate(client.root, secret.id, DAY, auth.origin, public_key=_jwk(RSA))
    assert [violation.pointer for violation in caught.value.violations] == ["/public_key"]


async def test_people_have_no_public_keys(client: Client) -> None:
    """A client is a service account."""
    with pytest.raises(AuthInvalidInputError):
        await client.auth.keys.create(client.root, ApiKeyDraft("mine", public_key=_jwk(ED)), client.auth.origin)


_ED_JWK, _RSA_JWK = json.loads(_jwk(ED)), json.loads(_jwk(RSA))


@pytest.mark.parametrize(
    "jwk",
    [
        "",
        "[]",
        "{",
        '{"kty": "oct", "k": "AAAA"}',
        _jwk(ED, d="AAAA"),
        _jwk(ED, x5u="https://example.com"),
        _jwk(ED, use="enc"),
        _jwk(ED, alg="RS256"),
        _jwk(ED, key_ops=["sign"]),
        _jwk(ED, kid=""),
        _jwk(ED, kid="a b"),
        _jwk(ED, kid=7),
        _jwk(ED, x=_ED_JWK["x"] + "="),
        _jwk(ED, x=_ED_JWK["x"][:-2]),
        _jwk(ED, x=_b64(b"\x01" + bytes(31))),
        _jwk(ED, x=_b64(bytes(31) + b"\x80")),
        _jwk(ED, x=_b64(bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"))),
        _jwk(ed448.Ed448PrivateKey.generate()),
        _jwk(ec.generate_private_key(ec.SECP384R1())),
        _jwk(ec.generate_private_key(ec.SECP256K1())),
        _jwk(EC, x=_b64(b"\x01" * 32)),
        _jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024)),
        _jwk(RSA, e="Aw"),
        _jwk(RSA, n="AA" + _RSA_JWK["n"]),
        _jwk(RSA, n=_b64(b"\xff" * 2048)),
        _jwk(RSA, alg="RS512"),
    ],
    # Keys are made anew in each process: their text would be another name of the test in each.
    ids=itertools.count(),
)
def test_a_key_that_proves_nothing_is_not_taken(jwk: str) -> None:
    """Secret, private, weak, of another kind or in a second spelling."""
    with pytest.raises(ValueError, match=r"."):
        read_public_key(jwk)


async def test_an_assertion_is_used_once_by_whoever(bench: Any) -> None:
    """Two processes that get it at once: one takes it. It is forgotten past its time; each client has ids of its own."""
    one, two, jti = new_id(), new_id(), b"j" * 32
    assert await bench.store.use_assertion("default", one, jti, NOW + DAY)
    assert not await bench.other.use_assertion("default", one, jti, NOW + 2 * DAY)
    assert await bench.other.use_assertion("default", two, jti, NOW)
    assert await bench.store.prune(NOW) == 1
    assert not await bench.other.use_assertion("default", one, jti, NOW + DAY)
    assert await bench.other.use_assertion("default", two, jti, NOW + DAY)


async def test_an_account_has_a_public_key_once(bench: Any) -> None:
    """Unless the former one was revoked; other accounts may have the same."""
    owners = [(await add_account(bench.store, new_account(f"{new_id()}@example.com"))).id for _ in range(2)]
    jwk = read_public_key(_jwk(ED))

    async def add(owner: str) -> ApiKey:
        key = ApiKey("default", new_id(), owner, "key", (), (), NOW, public_key=jwk.jwk)
        async with bench.store.transaction() as transaction:
            await transaction.add_api_key(NewApiKey(key, b"h" * 32, jwk.thumbprint))
        return key

    first, _ = await add(owners[0]), await add(owners[1])
    with pytest.raises(PublicKeyTakenError):
        await add(owners[0])
    assert await bench.other.public_keys("default", owners[0]) == [first]
    async with bench.store.transaction() as transaction:
        await transaction.end_api_key(first, NOW)
    assert await bench.other.public_keys("default", owners[0]) == []
    assert await bench.other.public_keys("default", "x") == []
    second = await add(owners[0])
    found = (await bench.other.api_keys_by_id([second.id]))[second.id]
    assert found == NewApiKey(second, b"h" * 32, jwk.thumbprint)
