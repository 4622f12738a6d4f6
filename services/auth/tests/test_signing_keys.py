"""Signing keys: kept sealed, exchanged without anybody noticing."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from stylobate.config import ConfigError
from stylobate.encryption import KeyNotOpenedError, SecretKeyEncryption
from stylobate.errors import PermissionDeniedError
from stylobate.identity.access_token import key_id_of, parse_jwks, verify_access_token
from stylobate.identity.api_key import ApiKeyNotEnoughError
from stylobate_auth.jwt_manager import JWTManager, signing_key
from stylobate_auth.key_ring import KeyRing
from stylobate_auth.signing_key import KEPT_FOR, Place, SigningKey, make_private_key, public_jwk
from stylobate_auth.signing_key_manager import SigningKeyManager

from .conftest import Auth
from .stores import NOW
from .test_jwt import ACCOUNT, SESSION

NOTICE, EVERY = timedelta(minutes=10), timedelta(days=90)
SECRET = "k" * 32


class Process:
    """One auth process: its ring, and what signs by it."""

    def __init__(self, auth: Auth, *, secret: str = SECRET, former: str = "", issuer: str = "", **more: Any) -> None:
        self.auth = auth
        self.ring = KeyRing(issuer) if issuer else KeyRing()
        self.tokens = JWTManager(self.ring, timedelta(minutes=10))
        options = {"algorithm": "EdDSA", "every": EVERY, "notice": NOTICE} | more
        encryption = SecretKeyEncryption(secret, [former] if former else [], purpose="auth.key_encryption")
        first = signing_key("s" * 32)
        self.keys = SigningKeyManager(auth.store, self.ring, encryption, auth.access, first=first, clock=auth.clock, **options)

    def sign(self) -> str:
        """Return an access token."""
        return self.tokens.sign(ACCOUNT, SESSION, self.auth.clock())

    def verifies(self, token: str) -> bool:
        """Return whether who loads this process's key set now takes the token."""
        key = parse_jwks(self.keys.jwks()[0]).get(key_id_of(token))
        return key is not None and verify_access_token(token, key, self.auth.clock().timestamp()).id == ACCOUNT.id

    def places(self) -> list[str]:
        """Return where the published keys stand, the newest first."""
        return [place.name.lower() for _, place in self.keys.published()]


async def _started(auth: Auth, **options: Any) -> Process:
    process = Process(auth, **options)
    await process.keys.start()
    return process


async def test_the_key_of_the_setting_is_the_first(auth: Auth) -> None:
    """What the release before signed is verified: its key is in the set, under the same id, and signs on."""
    process = await _started(auth)
    assert process.verifies(auth.tokens.sign(ACCOUNT, SESSION, auth.clock()))
    assert process.ring.signer(auth.clock()).key_id == public_jwk(signing_key("s" * 32))["kid"]
    assert process.places() == ["current"]


async def test_a_key_is_published_before_and_after_its_use(auth: Auth) -> None:
    """Ten minutes before it signs, and until the last token that it signed has expired."""
    process = await _started(auth)
    old = process.sign()
    made = await process.keys.rotate(auth.service, auth.origin)
    assert process.places() == ["next", "current"]
    assert process.keys.place(made) is Place.NEXT
    auth.clock.advance(NOTICE - timedelta(seconds=1))
    assert key_id_of(process.sign()) == key_id_of(old)
    auth.clock.advance(timedelta(seconds=1))
    assert key_id_of(process.sign()) == made.id
    assert process.places() == ["current", "previous"]
    late = JWTManager(process.ring, timedelta(hours=1)).sign(ACCOUNT, SESSION, auth.clock() - timedelta(seconds=1))
    auth.clock.advance(timedelta(minutes=59))
    assert process.verifies(late)
    auth.clock.advance(KEPT_FOR)
    assert process.places() == ["current"]
    assert await process.keys.prune(auth.clock()) == 1
    assert await process.keys.prune(auth.clock()) == 0
    await process.keys.look()
    assert key_id_of(process.sign()) == made.id


async def test_processes_agree(auth: Auth) -> None:
    """Whoever exchanges the key, all sign with it from the same moment; one that comes later too."""
    one, two = await _started(auth), await _started(auth)
    first, second = await asyncio.gather(one.keys.rotate(auth.service, auth.origin), two.keys.rotate(auth.service, auth.origin))
    assert first == second, "one that waits already is the answer"
    await two.keys.look()
    auth.clock.advance(NOTICE)
    late = await _started(auth)
    assert {key_id_of(process.sign()) for process in (one, two, late)} == {first.id}
    assert all(process.verifies(one.sign()) for process in (two, late))


async def test_the_first_key_signs_though_the_clock_is_behind(auth: Auth) -> None:
    """Processes that start together: one makes the key a moment after another has looked at its clock."""
    one = await _started(auth)
    auth.clock.set(auth.clock() - timedelta(milliseconds=20))
    two = await _started(auth)
    assert two.places() == ["current"]
    assert one.verifies(two.sign())


async def test_the_schedule_exchanges_keys_once(auth: Auth) -> None:
    """So that the next one signs when the present one's time is over; every process asks, one key is made."""
    one, two = await _started(auth), await _started(auth)
    auth.clock.advance(EVERY - NOTICE - timedelta(seconds=1))
    await one.keys.rotate_if_due()
    assert one.places() == ["current"]
    auth.clock.advance(timedelta(seconds=1))
    await asyncio.gather(one.keys.rotate_if_due(), two.keys.rotate_if_due())
    assert one.places() == two.places() == ["next", "current"]
    assert len(auth.store.records) == len([event for event in auth.store.events if event.type == "auth.signing_key.rotated"]) == 1
    never = await _started(auth, every=timedelta(0))
    auth.clock.advance(10 * EVERY)
    await never.keys.rotate_if_due()
    assert "next" not in never.places()


async def test_another_algorithm_is_exchanged_for(auth: Auth) -> None:
    """Both kinds of keys are in the set while that goes on, and tokens of both are verified."""
    process = await _started(auth)
    old = process.sign()
    other = await _started(auth, algorithm="RS256")
    await other.keys.rotate_if_due()
    assert [json.loads(key.public_key)["kty"] for key, _ in other.keys.published()] == ["RSA", "OKP"]
    auth.clock.advance(timedelta(minutes=5))
    assert other.verifies(old)
    auth.clock.advance(NOTICE)
    new = other.sign()
    assert other.verifies(new)
    await other.keys.rotate_if_due()
    assert "next" not in other.places()
    assert set(json.loads(other.keys.jwks()[0])["keys"][0]) == {"e", "kty", "n", "kid", "alg", "use"}, "no private part"


async def test_keys_are_sealed_and_sealed_anew(auth: Auth) -> None:
    """With another key-encryption key they are not opened, unless the former one is told; then that is needed no more."""
    process = await _started(auth)
    token = process.sign()
    with pytest.raises(ConfigError, match="STYLOBATE_AUTH_KEY_ENCRYPTION_KEY_BEFORE"):
        await _started(auth, secret="n" * 32)
    assert (await _started(auth, secret="n" * 32, former=SECRET)).verifies(token)
    assert (await _started(auth, secret="n" * 32)).verifies(token)
    assert (await process.keys.health()).status.value == "healthy", "who has the key open already needs no other"
    await process.keys.look()
    assert process.verifies(process.sign())


async def test_a_key_that_cannot_be_opened_signs_nothing(auth: Auth) -> None:
    """It is published all the same; the process signs with the one it has, and says that it is not well."""
    process = await _started(auth)
    made = await (await _started(auth, secret="n" * 32, former=SECRET)).keys.rotate(auth.service, auth.origin)
    await process.keys.look()
    auth.clock.advance(NOTICE)
    assert key_id_of(process.sign()) != made.id
    assert made.id in parse_jwks(process.keys.jwks()[0])
    assert (await process.keys.health()).status.value == "degraded"


async def test_a_sealed_key_opens_where_it_was_sealed() -> None:
    """Not under another name, not with another key, not when a bit is changed."""
    encryption = SecretKeyEncryption(SECRET, purpose="auth.key_encryption")
    sealed = (await encryption.seal(b"private", "one")).data
    assert b"private" not in sealed
    assert await encryption.open(sealed, encryption.id, "one") == b"private"
    for data, by, about in (
        (sealed, encryption.id, "two"),
        (sealed, "another", "one"),
        (sealed[:-1] + bytes([sealed[-1] ^ 1]), encryption.id, "one"),
        (b"", encryption.id, "one"),
    ):
        with pytest.raises(KeyNotOpenedError):
            await encryption.open(data, by, about)


async def test_who_may_exchange_keys(auth: Auth) -> None:
    """Nobody without the permission, and no API key."""
    process = await _started(auth)
    await auth.register()
    principal = auth.principal(await auth.login())
    with pytest.raises(PermissionDeniedError) as refused:
        await process.keys.rotate(principal, auth.origin)
    assert refused.value.metadata == {"permission": "signing_keys:write"}
    with pytest.raises(PermissionDeniedError):
        await process.keys.all(principal)
    with pytest.raises(ApiKeyNotEnoughError):
        await process.keys.rotate(replace(principal, is_key=True), auth.origin)
    assert process.places() == ["current"]


async def test_former_issuers_count_on(auth: Auth) -> None:
    """A platform that moves to another address takes the tokens of the old one for as long as one can live."""
    await _started(auth, issuer="https://one.example")
    process = await _started(auth, issuer="https://two.example")
    assert process.keys.jwks()[1] == ["https://one.example", "https://two.example"]
    auth.clock.advance(2 * KEPT_FOR)
    await process.keys.look()
    assert process.keys.jwks()[1] == ["https://two.example"]


async def test_a_store_keeps_keys(bench: Any) -> None:
    """In the order of their use, sealed anew once, removed when their successor was in use for long enough."""
    jwk = json.dumps(public_jwk(make_private_key("EdDSA")))
    keys = [SigningKey(f"key-{place}", "EdDSA", jwk, b"s", "one", NOW, NOW + place * EVERY) for place in range(3)]
    async with bench.store.transaction() as transaction:
        assert await transaction.hold_signing_keys() == []
        for key in reversed(keys):
            await transaction.add_signing_key(key)
        assert list(await transaction.hold_signing_keys()) == keys
    await bench.store.reseal_signing_key(keys[0], b"anew", "two")
    await bench.store.reseal_signing_key(keys[0], b"too late", "three")
    keys[0] = replace(keys[0], sealed=b"anew", sealed_by="two")
    await bench.store.keep_issuer("https://one.example", NOW + EVERY)
    await bench.store.keep_issuer("https://one.example", NOW)
    assert await bench.other.signing_keys(NOW) == (keys, ["https://one.example"])
    assert await bench.store.remove_signing_keys(NOW + EVERY - timedelta(seconds=1)) == 0
    assert await bench.store.remove_signing_keys(NOW + EVERY) == 2
    assert await bench.other.signing_keys(NOW) == (keys[1:], [])
