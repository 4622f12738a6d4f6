"""API keys: their text, and what a verifier makes of them, remembers and refuses."""

import secrets
from ipaddress import ip_network
from typing import Any

import grpc
import pytest
from stylobate.api.auth.v1.token_service_pb2 import ApiKeyStanding, VerifiedApiKey
from stylobate.errors import TokenExpiredError, TokenInvalidError, TokenRevokedError, UnavailableError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.api_key import (
    ApiKeyExpiredError,
    ApiKeyInvalidError,
    ApiKeyPlaceError,
    ApiKeyRevokedError,
    read_api_key,
    the_credential,
    write_api_key,
)
from stylobate.identity.api_key_proofs import refuse_elsewhere
from stylobate.identity.verifier import TokenVerifier

from .conftest import NOW

ID = "01a20883-0000-7000-8000-00000000000f"
LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-"


def _key(environment: str = "development") -> tuple[str, bytes]:
    return write_api_key(environment, ID, secrets.token_bytes(32))


def _holding(text: str, authority: Any, **changes: Any) -> None:
    """Let the authority know a key."""
    found = VerifiedApiKey(standing=ApiKeyStanding.API_KEY_STANDING_VALID, tenant="default", owner="user-1")
    found.verified_at.FromSeconds(int(authority.clock.now))
    found.believed_until.FromSeconds(int(authority.clock.now) + 600)
    found.MergeFrom(VerifiedApiKey(**changes))
    authority.tokens.api_keys[read_api_key(text)] = found


@pytest.mark.parametrize(("environment", "label"), [("development", "dev"), ("staging", "staging"), ("production", "prod")])
def test_a_key_says_what_it_is_for(environment: str, label: str) -> None:
    """Environment, id and secret; what is kept of it is read again from its text."""
    text, secret_hash = _key(environment)
    assert text.startswith(f"stylo_{label}_{ID.replace('-', '')}_")
    assert text.replace("_", "").isalnum()
    assert read_api_key(text, environment) == (ID, secret_hash)


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32])
def test_every_secret_has_a_text_of_one_length(secret: bytes) -> None:
    """The smallest and the largest, too."""
    text, secret_hash = write_api_key("production", ID, secret)
    assert len(text) == len(_key("production")[0])
    assert read_api_key(text).secret_hash == secret_hash


def test_a_key_with_any_other_character_is_refused() -> None:
    """At every place, one that is wrong, missing, twice, or one more: by the checksum, which nobody is asked about."""
    text, _ = _key()
    wrong = [text[:at] + letter + text[at + 1 :] for at in range(len(text)) for letter in LETTERS if letter != text[at]]
    wrong += [text[:at] + text[at + 1 :] for at in range(len(text))]
    wrong += [text[:at] + text[at] + text[at:] for at in range(len(text))]
    wrong += [text + "\n", f" {text}", text.upper(), "stylo_", "stylo_dev_", text + text]
    for other in wrong:
        with pytest.raises(ApiKeyInvalidError):
            read_api_key(other)


def test_a_key_of_another_environment_is_refused() -> None:
    """One of production that reaches a developer's machine by mistake is not even asked about."""
    text, _ = _key("production")
    with pytest.raises(ApiKeyInvalidError, match="environment"):
        read_api_key(text, "development")


def test_of_two_credentials_none_counts() -> None:
    """And a token under the name of a key is none."""
    text, _ = _key()
    assert the_credential(None, text) == the_credential("", text) == f"Bearer {text}"
    for authorization, key in ((f"Bearer {text}", text), (None, "eyJhbGciOi.e30.e30"), (None, b"stylo_")):
        with pytest.raises(ApiKeyInvalidError):
            the_credential(authorization, key)


async def test_a_key_names_its_principal(authority: Any) -> None:
    """Auth is asked once, by id and hash; from then on memory answers until the time that auth gave is over."""
    text, _ = _key()
    _holding(text, authority, scopes=["orders:read"], allowed_cidrs=["192.0.2.0/24"])
    async with authority.verifier(environment="development") as verifier:
        assert verifier.cached(text) is None
        principal = await verifier.verify(text)
        assert (principal.kind, principal.id, principal.tenant) == (PrincipalKind.USER, "user-1", "default")
        assert (principal.is_key, principal.token_id, principal.session) == (True, ID, "")
        assert (principal.scopes, principal.networks) == ({"orders:read"}, (ip_network("192.0.2.0/24"),))
        assert (principal.issued_at, principal.expires_at) == (NOW, NOW + 600)
        assert verifier.cached(text) is await verifier.verify(text) is principal
        assert authority.tokens.key_calls == 1
        authority.clock.now += 600
        assert verifier.cached(text) is None
        _holding(text, authority)
        assert (await verifier.verify(text)).expires_at == NOW + 1200


@pytest.mark.parametrize(
    ("standing", "kind"), [("UNKNOWN", ApiKeyInvalidError), ("EXPIRED", ApiKeyExpiredError), ("REVOKED", ApiKeyRevokedError)]
)
async def test_a_key_that_does_not_hold_is_refused(authority: Any, standing: str, kind: type[Exception]) -> None:
    """Each in its own words, and as what is said of tokens."""
    text, _ = _key()
    _holding(text, authority)
    authority.tokens.api_keys[read_api_key(text)].standing = ApiKeyStanding.Value(f"API_KEY_STANDING_{standing}")
    async with authority.verifier() as verifier:
        with pytest.raises(kind):
            await verifier.verify(text)
        assert verifier.cached(text) is None
    assert issubclass(kind, TokenInvalidError | TokenExpiredError | TokenRevokedError)


async def test_a_wrong_checksum_needs_nobody(nowhere: grpc.aio.Channel) -> None:
    """With nothing to ask it is refused all the same, and a right one is not decided."""
    text, _ = _key()
    async with TokenVerifier(nowhere) as verifier:
        with pytest.raises(ApiKeyInvalidError):
            await verifier.verify(text[:-1] + ("0" if text[-1] != "0" else "1"))
        with pytest.raises(UnavailableError):
            await verifier.verify(text)


async def test_a_revoked_key_is_refused_from_memory(authority: Any, eventually: Any) -> None:
    """Auth is not asked again, and what is asked while the revocation comes is refused too."""
    text, _ = _key()
    _holding(text, authority)
    async with authority.verifier() as verifier:
        principal = await verifier.verify(text)
        authority.revoke("KEY", ID)

        async def is_revoked() -> bool:
            return verifier.is_revoked(principal)

        await eventually(is_revoked)
        with pytest.raises(ApiKeyRevokedError):
            verifier.cached(text)
        assert authority.tokens.key_calls == 1
    async with authority.verifier() as another:  # whose list has it, whatever auth says
        await another.ready.wait()
        with pytest.raises(ApiKeyRevokedError):
            await another.verify(text)


async def test_when_all_of_its_owner_was_ended_auth_decides_anew(authority: Any, eventually: Any) -> None:
    """Sessions end with the subject's entry; whether a key does is for auth to say, each time it is proven."""
    text, _ = _key()
    _holding(text, authority)
    async with authority.verifier() as verifier:
        principal = await verifier.verify(text)
        authority.clock.now += 10
        _holding(text, authority)
        authority.revoke("SUBJECT", "user-1", not_before=NOW + 5)

        async def is_revoked() -> bool:
            return verifier.is_revoked(principal)

        await eventually(is_revoked)
        assert verifier.cached(text) is None
        assert (await verifier.verify(text)).issued_at == NOW + 10
        assert verifier.cached(text) is not None


async def test_a_key_that_changed_is_asked_about_again(authority: Any, eventually: Any) -> None:
    """Once, by every verifier that hears of it: nothing is refused meanwhile, and who keeps the key is told."""
    text, _ = _key()
    _holding(text, authority, rate_limit="9/day")
    told = list[tuple[str, str]]()
    async with authority.verifier() as verifier:
        verifier.on_key_changed(lambda tenant, key: told.append((tenant, key)))
        before = await verifier.verify(text)
        _holding(text, authority, rate_limit="20/day")
        authority.revoke("KEY_CHANGED", ID, not_before=NOW)

        async def is_forgotten() -> bool:
            return verifier.cached(text) is None

        await eventually(is_forgotten)
        assert not verifier.is_revoked(before)
        assert ((await verifier.verify(text)).rate_limit, authority.tokens.key_calls) == ("20/day", 2)
        assert verifier.cached(text) is not None
        authority.revoke("KEY_CHANGED", ID, not_before=NOW + 1)
        await eventually(is_forgotten)
    assert told == [("default", ID)] * 2


def test_a_key_is_taken_from_its_networks_alone() -> None:
    """Also where the address is not known; one without networks is taken from everywhere."""
    bound = Principal(PrincipalKind.USER, "u", is_key=True, networks=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
    for address in ("192.0.2.7", "2001:db8::1"):
        refuse_elsewhere(bound, address)
    for address in ("192.0.3.1", "2001:db9::1", "local", ""):
        with pytest.raises(ApiKeyPlaceError):
            refuse_elsewhere(bound, address)
        refuse_elsewhere(Principal(PrincipalKind.USER, "u", is_key=True), address)


@pytest.mark.parametrize(
    ("scopes", "lent"),
    [
        ((), set()),
        (("orders:read",), {"orders:read"}),
        (("orders:*", "owner"), {"orders:read", "orders:create", "owner"}),
        (("*",), {"orders:read", "orders:create", "owner", "authenticated"}),
    ],
)
def test_a_key_lends_what_its_scopes_cover(scopes: tuple[str, ...], lent: set[str]) -> None:
    """Without any nothing; an access token without scopes lends everything."""
    terms = {"orders:read", "orders:create", "owner", "authenticated"}
    key = Principal(PrincipalKind.USER, "u", is_key=True, scopes=frozenset(scopes))
    assert {term for term in terms if key.lends(term)} == lent
    assert all(Principal(PrincipalKind.USER, "u").lends(term) for term in terms)
