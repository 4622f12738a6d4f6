"""The verifier: which tokens hold, and what it remembers."""

import asyncio
import base64
import json
from datetime import timedelta
from typing import Any

import jwt
import pytest
from stylobate.errors import TokenExpiredError, TokenInvalidError, TokenRevokedError, UnavailableError
from stylobate.health import Status
from stylobate.identity import PrincipalKind
from stylobate.identity.auth_feed import FeedTimings
from stylobate.identity.verifier import TokenVerifier

SOON_S = 5


def _unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])


async def test_a_good_token_names_its_principal(authority: Any) -> None:
    """Every claim arrives in the principal."""
    token = authority.key.sign(roles=["user", "admin"], scope="orders:read orders:create")
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        assert verifier.cached(token) is None
        principal = await verifier.verify(token)
        assert (principal.kind, principal.id, principal.tenant) == (PrincipalKind.USER, "user-1", "default")
        assert (principal.session, principal.token_id, principal.roles) == ("session-1", "token-1", ("user", "admin"))
        assert principal.scopes == {"orders:read", "orders:create"}
        assert principal.expires_at - principal.issued_at == 600
        assert verifier.cached(token) is principal


async def test_what_many_tokens_say_alike_is_kept_once(authority: Any) -> None:
    """A principal lives as long as its socket: tenant, roles and no scopes at all are the same objects in all of them."""
    tokens = [
        authority.key.sign(jti=f"token-{number}", tenant="a company", roles=["user of it"], scope="") for number in range(2)
    ]
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        one, other = [await verifier.verify(token) for token in tokens]
        assert one.token_id != other.token_id
        assert (one.tenant, one.roles, one.scopes) == ("a company", ("user of it",), frozenset())
        assert one.tenant is other.tenant
        assert one.roles[0] is other.roles[0]
        assert one.scopes is other.scopes


async def test_a_cached_token_ends_with_its_time(authority: Any) -> None:
    """The cache never outlives a token."""
    token = authority.key.sign()
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        await verifier.verify(token)
        authority.clock.now += 600
        assert verifier.cached(token) is None
        with pytest.raises(TokenExpiredError):
            await verifier.verify(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone"},
        {"aud": "someone"},
        {"headers": {"typ": "JWT"}},
        {"headers": {"typ": "st+jwt"}},
        {"sub": "service:gateway"},
        {"sub": ""},
        {"tenant": 7},
        {"exp": "tomorrow"},
        {"iat": 1_900_000_000},
        *({"without": (claim,)} for claim in ("iss", "aud", "sub", "tenant", "sid", "jti", "iat", "exp")),
    ],
    ids=str,
)
async def test_a_signed_token_with_wrong_claims_is_refused(authority: Any, changes: dict[str, Any]) -> None:
    """Our signature alone is not enough: kind, audience and every claim must fit."""
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        with pytest.raises(TokenInvalidError):
            await verifier.verify(authority.key.sign(**changes))


async def test_forged_tokens_are_refused(authority: Any, other_key: Any) -> None:
    """No algorithm, a symmetric one, a foreign signature under our key id and a changed body all fail."""
    good = authority.key.sign()
    head, body, signature = good.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    header = {"alg": "EdDSA", "typ": "at+jwt", "kid": "key-1"}
    changed = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "admin"}).encode()).rstrip(b"=").decode()
    other_key.kid = "key-1"
    forged = [
        _unsigned(header | {"alg": "none"}, claims),
        _unsigned(header, claims),
        jwt.encode(claims, "k" * 64, algorithm="HS256", headers=header | {"alg": "HS256"}),
        other_key.sign(),
        f"{head}.{changed}.{signature}",
    ]
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        for token in forged:
            with pytest.raises(TokenInvalidError):
                await verifier.verify(token)
            assert verifier.cached(token) is None


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "..", "é.é.é", "\udcff", "A" * 9000, "e30.e30.e30", "bnVsbA.e30."])
async def test_garbage_is_refused_before_any_key_is_looked_for(authority: Any, token: str) -> None:
    """Text that is not a token costs no call to auth."""
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        calls = authority.tokens.jwks_calls
        with pytest.raises(TokenInvalidError):
            await verifier.verify(token)
        assert authority.tokens.jwks_calls == calls


async def test_a_new_signing_key_is_found_when_its_first_token_comes(authority: Any, other_key: Any) -> None:
    """A key that auth began to sign with is fetched on demand."""
    timings = FeedTimings(unknown_key_pause=timedelta(0))
    async with authority.verifier(timings=timings) as verifier:
        await verifier.ready.wait()
        authority.tokens.keys.append(other_key)
        assert (await verifier.verify(other_key.sign())).id == "user-1"


async def test_unknown_key_ids_cannot_make_the_verifier_call_auth_at_will(authority: Any, other_key: Any) -> None:
    """A flood of tokens with made-up key ids causes at most one look within the pause."""
    async with authority.verifier(timings=FeedTimings(unknown_key_pause=timedelta(hours=1))) as verifier:
        await verifier.ready.wait()
        calls = authority.tokens.jwks_calls
        tokens = [other_key.sign(headers={"kid": f"made-up-{number}"}) for number in range(20)]
        answers = await asyncio.gather(*(verifier.verify(token) for token in tokens), return_exceptions=True)
        assert {type(answer) for answer in answers} == {TokenInvalidError}
        assert authority.tokens.jwks_calls == calls


async def test_a_flood_of_unknown_key_ids_shares_one_look(authority: Any, other_key: Any) -> None:
    """Tokens that arrive together wait for the same answer."""
    async with authority.verifier(timings=FeedTimings(unknown_key_pause=timedelta(milliseconds=1))) as verifier:
        await verifier.ready.wait()
        authority.tokens.keys.append(other_key)
        calls = authority.tokens.jwks_calls
        await asyncio.sleep(0.002)  # the pause itself
        answers = await asyncio.gather(*(verifier.verify(other_key.sign(jti=f"{number}")) for number in range(20)))
        assert len(answers) == 20
        assert authority.tokens.jwks_calls == calls + 1


async def test_tokens_of_a_withdrawn_key_must_be_proven_again(authority: Any, other_key: Any) -> None:
    """When auth no longer publishes a key, what it proved is forgotten, the cache included."""
    token = authority.key.sign()
    async with authority.verifier(timings=FeedTimings(unknown_key_pause=timedelta(0))) as verifier:
        await verifier.ready.wait()
        await verifier.verify(token)
        authority.tokens.keys = [other_key]
        await verifier.verify(other_key.sign())  # makes it look
        assert verifier.cached(token) is None
        with pytest.raises(TokenInvalidError):
            await verifier.verify(token)


async def test_the_cache_is_bounded(authority: Any) -> None:
    """Past its size the oldest tokens leave; they still verify."""
    async with authority.verifier(cache_size=8) as verifier:
        await verifier.ready.wait()
        tokens = [authority.key.sign(jti=f"token-{number}") for number in range(20)]
        for token in tokens:
            await verifier.verify(token)
        assert (await verifier.health()).metrics["cached_tokens"] <= 8
        assert verifier.cached(tokens[0]) is None
        assert verifier.cached(tokens[-1]) is not None
        assert (await verifier.verify(tokens[0])).token_id == "token-0"


async def test_without_auth_nothing_verifies_and_nothing_hangs(authority: Any, nowhere: Any) -> None:
    """A verifier that never reached auth says so, and is not ready."""
    async with TokenVerifier(nowhere) as verifier:
        assert not verifier.ready.is_set()
        assert (await verifier.health()).status is Status.UNHEALTHY
        with pytest.raises(UnavailableError):
            await asyncio.wait_for(verifier.verify(authority.key.sign()), SOON_S)


async def test_it_becomes_ready_when_auth_comes_later(authority: Any) -> None:
    """A verifier that started before auth finds it by itself."""
    authority.tokens.refuses_everything = True
    async with authority.verifier() as verifier:
        assert not verifier.ready.is_set()
        authority.tokens.refuses_everything = False
        await asyncio.wait_for(verifier.ready.wait(), SOON_S)
        assert (await verifier.health()).status is Status.HEALTHY


async def test_a_stale_deny_list_refuses_when_told_to(authority: Any, eventually: Any) -> None:
    """With ``deny`` nothing verifies while the deny-list cannot be refreshed; with ``allow`` it does, degraded."""
    token = authority.key.sign()
    async with authority.verifier(revocation_stale="deny") as strict, authority.verifier() as lenient:
        await strict.ready.wait()
        await lenient.ready.wait()
        await strict.verify(token)
        await lenient.verify(token)
        for verifier in (strict, lenient):
            await eventually(lambda verifier=verifier: _is_streaming(verifier))
            verifier._feed._listed_at -= 31  # half a minute without a word
        with pytest.raises(UnavailableError):
            strict.cached(token)
        with pytest.raises(UnavailableError):
            await strict.verify(authority.key.sign(jti="another"))
        assert lenient.cached(token) is not None
        assert (await lenient.health()).status is Status.DEGRADED


async def test_a_list_is_as_old_as_auth_says(authority: Any) -> None:
    """An auth process that lost its database answers, and its answer does not count as news."""
    authority.tokens.age_s = 45
    async with authority.verifier(revocation_stale="deny") as verifier:
        await verifier.ready.wait()
        assert (await verifier.health()).status is Status.DEGRADED
        with pytest.raises(UnavailableError):
            await verifier.verify(authority.key.sign())


async def _is_streaming(verifier: TokenVerifier) -> bool:
    return (await verifier.health()).metrics["streaming"] == 1


async def test_a_revoked_token_is_refused_even_when_never_seen(authority: Any) -> None:
    """A process that starts after a revocation refuses the token too."""
    authority.revoke("SESSION", "session-1")
    async with authority.verifier() as verifier:
        await verifier.ready.wait()
        with pytest.raises(TokenRevokedError):
            await verifier.verify(authority.key.sign())
