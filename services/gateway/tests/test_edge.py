"""Who is calling, how often they may, and in which name they are counted."""

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")
ASK = "/v1/actions/notes.whoami"


def bearer(token: str) -> dict[str, str]:
    """Return the header."""
    return {"authorization": f"Bearer {token}"}


async def test_the_caller_reaches_the_handler(gateway) -> None:
    """A token is verified once by the edge, however it is spelled, and the service sees the same caller."""
    for header in ("Bearer ada", "bearer ada", "BEARER   ada"):
        assert (await gateway.http.post(ASK, json={}, headers={"authorization": header})).json() == {"id": "ada"}


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "ada", "Bearer a b"])
async def test_other_credentials_are_refused(gateway, is_problem, header) -> None:
    """A credential that is not understood is never taken for none at all."""
    is_problem(await gateway.http.post(ASK, json={}, headers={"authorization": header}), 401, "TOKEN_INVALID")


async def test_a_stale_token_keeps_nobody_from_what_is_public(gateway) -> None:
    """Where credentials are not asked for they are not looked at; nothing beside those paths is public."""
    for path in ("/", "/docs", "/openapi.json", "/problems/internal"):
        assert (await gateway.http.get(path, headers=bearer("gone"))).status_code == 200
    assert (await gateway.http.get("/docsanything", headers=bearer("gone"))).status_code == 401


async def test_addresses_are_limited(run_gateway, is_problem) -> None:
    """Past the limit 429 with the policy in structured fields and a time to retry; nobody is asked to verify a token."""
    async with run_gateway(edge_ip="2/hour", edge_user="100/hour") as gateway:
        first = await gateway.http.post(ASK, json={}, headers=bearer("ada"))
        assert first.headers["ratelimit-policy"].startswith('"edge.')
        assert first.headers["ratelimit"].startswith('"edge.')
        await gateway.http.get("/nowhere")
        limited = await gateway.http.post(ASK, json={}, headers=bearer("new-eve"))
        assert is_problem(limited, 429, "RATE_LIMITED")["metadata"]["policy"] == "edge.ip"
        assert limited.headers["ratelimit-policy"] == '"edge.ip";q=2;w=3600'
        assert limited.headers["ratelimit"].startswith('"edge.ip";r=0;t=')
        assert int(limited.headers["retry-after"]) >= 1
        assert gateway.app.verifier.verified == []


@pytest.mark.parametrize("header", ["Bearer gone", "Basic YTpi", "Bearer"])
async def test_a_token_that_is_refused_at_once_is_charged(run_gateway, is_problem, header) -> None:
    """Revoked or malformed: the address pays for the request like for any other."""
    async with run_gateway(edge_ip="2/hour", edge_user="100/hour") as gateway:
        for _ in range(2):
            answer = await gateway.http.post(ASK, json={}, headers={"authorization": header})
            assert answer.status_code == 401
        is_problem(await gateway.http.post(ASK, json={}, headers={"authorization": header}), 429, "RATE_LIMITED")


async def test_users_are_limited_wherever_they_come_from(run_gateway, is_problem) -> None:
    """The second level counts who is known, also when the token was verified a moment ago."""
    async with run_gateway(edge_ip="100/hour", edge_user="1/hour") as gateway:
        assert (await gateway.http.post(ASK, json={}, headers=bearer("new-ada"))).status_code in (200, 401)
        is_problem(await gateway.http.post(ASK, json={}, headers=bearer("ada")), 429, "RATE_LIMITED")
        assert (await gateway.http.post(ASK, json={}, headers=bearer("eve"))).status_code == 200


async def test_a_limiter_that_is_away_lets_everybody_pass(run_gateway) -> None:
    """Without the ratelimit service calls work, and the answer promises nothing."""
    async with run_gateway(is_limiter_away=True) as gateway:
        answer = await gateway.http.post(ASK, json={}, headers=bearer("ada"))
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


async def test_the_limit_that_refused_is_shown_first(run_gateway) -> None:
    """A 429 of an action carries its own limit before those of the edge, as a list in one header."""
    async with run_gateway(edge_ip="100/hour") as gateway:
        answer = await gateway.http.post("/v1/actions/notes.limited", json={})
        assert answer.headers["ratelimit-policy"] == '"notes.limited";q=30;w=60, "edge.ip";q=100;w=3600'
        assert answer.headers["ratelimit"].startswith('"notes.limited";r=0;t=60, "edge.ip";r=99;t=')
        assert answer.headers["retry-after"] == "2"
