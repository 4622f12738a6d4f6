"""What a request is charged on: once, in one check, all of it or nothing."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.clients.limit_plan import LimitPlan
from stylobate.declarations.model import LimitRule
from stylobate.declarations.rules import parse_rate_limit
from stylobate.errors import StylobateError
from stylobate.rpc.call import Call, current_call

from .conftest import Gateway

MODULES = Path(__file__).parent / "limited"


@pytest_asyncio.fixture
async def gateway(run_gateway) -> AsyncIterator[Gateway]:
    """Give one with limits that no test reaches by chance; counts begin with each test."""
    async with run_gateway(edge_ip="50/hour", edge_user="40/hour", modules=MODULES) as found:
        found.asked.clear()
        yield found


def bearer(token: str) -> dict[str, str]:
    """Return the header."""
    return {"authorization": f"Bearer {token}"}


def act(gateway: Gateway, action: str, token: str = "") -> Awaitable[httpx.Response]:
    """Call an action by its name."""
    return gateway.http.post(f"/v1/actions/{action}", json={}, headers=bearer(token) if token else {})


async def test_address_user_and_action_are_one_check(gateway) -> None:
    """The action's own limit is charged with those of the edge, and not again where the action runs; the answer tells of both."""
    answer = await act(gateway, "meter.read", "ada")
    assert answer.status_code == 200
    assert gateway.asked == [(("edge.ip", "edge.user", "meter.read"), ("127.0.0.1", "ada", "ada"))]
    assert answer.headers["ratelimit-policy"] == '"meter.read";q=2;w=3600, "edge.user";q=40;w=3600'
    assert answer.headers["ratelimit"] == '"meter.read";r=1;t=3600, "edge.user";r=39;t=90'


async def test_a_refused_request_is_charged_on_nothing(gateway, is_problem) -> None:
    """Who ran into the limit of one action loses nothing of what is left for others."""
    for _ in range(2):
        assert (await act(gateway, "meter.read", "ada")).status_code == 200
    for _ in range(3):
        refused = await act(gateway, "meter.read", "ada")
        assert is_problem(refused, 429, "RATE_LIMITED")["metadata"]["policy"] == "meter.read"
        assert refused.headers["ratelimit-policy"] == '"meter.read";q=2;w=3600, "edge.user";q=40;w=3600'
        assert refused.headers["ratelimit"].startswith('"meter.read";r=0;t=3600, "edge.user";r=38;')
        assert int(refused.headers["retry-after"]) > 3500
    other = await act(gateway, "meter.free", "ada")
    assert other.headers["ratelimit"].startswith('"edge.user";r=37;')


async def test_every_way_to_an_action_counts_for_its_limit(gateway) -> None:
    """Its route, its name, with a token that was never seen before; each caller has a limit of their own."""
    assert (await gateway.http.get("/meter/7", headers=bearer("new-ada"))).status_code == 200
    assert gateway.asked == [(("edge.ip",), ("127.0.0.1",)), (("edge.user", "meter.read"), ("ada", "ada"))]
    assert (await act(gateway, "meter.read", "ada")).status_code == 200
    assert (await gateway.http.get("/meter/7", headers=bearer("ada"))).status_code == 429
    assert (await gateway.http.get("/meter/7", headers=bearer("eve"))).status_code == 200


async def test_callers_without_a_name_count_by_address_where_they_may_ask(gateway, is_problem) -> None:
    """A public action charges an address; where a name is needed, who has none is told so and uses nothing up."""
    assert [(await act(gateway, "meter.peek")).status_code for _ in range(3)] == [200, 200, 429]
    assert gateway.asked[0] == (("edge.ip", "meter.peek"), ("127.0.0.1", "anonymous@127.0.0.1"))
    assert (await act(gateway, "meter.peek", "ada")).status_code == 200
    gateway.asked.clear()
    is_problem(await act(gateway, "meter.read"), 401, "UNAUTHENTICATED")
    assert gateway.asked == [(("edge.ip",), ("127.0.0.1",))]


async def test_over_http_the_limit_comes_before_the_permission_and_the_input(gateway, is_problem) -> None:
    """Who asks for what they may not do, or not in that form, uses up what is theirs, and nobody else's."""
    for _ in range(2):
        is_problem(await act(gateway, "meter.check", "eve"), 403, "PERMISSION_DENIED")
    is_problem(await act(gateway, "meter.check", "eve"), 429, "RATE_LIMITED")
    is_problem(await act(gateway, "meter.check", "ada"), 403, "PERMISSION_DENIED")


async def test_a_request_like_the_last_is_charged_by_what_holds_now(gateway, monkeypatch) -> None:
    """What was found out with a head is used for the same caller, and for as long as the rules are the same."""
    verifier = gateway.app.verifier
    ada = verifier.cached("ada")
    callers = [ada, ada, ada, replace(ada, id="ada's heir"), ada]
    with_rule = LimitPlan([LimitRule("site.day", parse_rate_limit("9/hour"), ("user",), {"action": ("meter.*",)})])
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)

    async def ask() -> None:
        """Send the same bytes, in one piece, and read the answer."""
        writer.write(
            b"POST /v1/actions/meter.free HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer ada\r\n"
            b"content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))

    for number, caller in enumerate(callers):  # who is known is the same object, as long as the token says the same
        with monkeypatch.context() as patch:
            patch.setattr(verifier, "cached", lambda _, caller=caller: caller)
            if number == 2:
                patch.setattr(gateway.app.limit_rules, "plan", with_rule)
            await ask()
    writer.close()
    edge = ("edge.ip", "edge.user")
    assert [(levels, subjects[1:]) for levels, subjects in gateway.asked] == [
        (edge, ("ada",)),
        (edge, ("ada",)),
        ((*edge, "site.day"), ("ada", "ada")),
        (edge, ("ada's heir",)),
        (edge, ("ada",)),
    ]


async def test_tenants_count_apart_in_the_same_check(gateway) -> None:
    """A caller of another tenant has the action's limit of that tenant; the rules of the edge know none."""
    answers = [await act(gateway, "meter.read", f"ada.{tenant}") for tenant in ("acme", "acme", "acme", "globex")]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 200]
    assert [len(subjects) for _, subjects in gateway.asked] == [3] * 4
    assert answers[-1].headers["ratelimit"].startswith('"meter.read";r=1;')


@pytest.mark.parametrize(
    ("via", "said", "statuses"),
    [
        ("gateway", "2/hour", ["OK"] * 4),
        ("gateway", "9/hour", ["OK", "OK", "RATE_LIMITED", "RATE_LIMITED"]),
        ("realtime", "2/hour", ["OK", "OK", "RATE_LIMITED", "RATE_LIMITED"]),
        ("", "2/hour", ["OK", "OK", "RATE_LIMITED", "RATE_LIMITED"]),
    ],
)
async def test_that_a_limit_was_charged_is_believed_of_the_gateway_alone(gateway, via, said, statuses) -> None:
    """And of it for the limit that the action has: one that it had when the gateway last looked is charged again."""
    stub = ActionServiceStub(gateway.app.channel_as(via))
    current_call.set(Call(authorization="Bearer ada"))
    found = []
    for _ in range(4):
        try:
            await stub.ExecuteAction(ExecuteActionRequest(action="meter.read", charged_limit=said))
        except StylobateError as error:
            found.append(error.reason)
        else:
            found.append("OK")
    assert found == statuses
