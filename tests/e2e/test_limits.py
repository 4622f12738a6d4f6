"""Rate limits as clients see them."""

import asyncio
import re
from collections import Counter

import grpc
import pytest
from stylobate.api.actions.v1.action_service_pb2 import ExecuteActionRequest
from stylobate.api.actions.v1.action_service_pb2_grpc import ActionServiceStub
from stylobate.errors import StylobateError
from stylobate.rpc import from_rpc_error, open_channel
from stylobate.testing.platform import Platform

from tests.conftest import SHOP


def test_answers_say_how_the_limit_stands(person):
    """Each call of a limited action counts down in `RateLimit`; `RateLimit-Policy` names the limit."""
    ada = person()
    left = []
    for _ in range(3):
        answer = ada.act("shop.place_order", {"items": [{"sku": "tea", "quantity": 1}]})
        assert answer.headers["ratelimit-policy"].startswith('"shop.place_order";q=30;w=60')
        left.append(int(re.match(r'"shop\.place_order";r=(\d+);t=\d+', answer.headers["ratelimit"])[1]))
    assert left == [29, 28, 27]
    assert '"edge.' in ada.http.get("/v1/auth/me").headers["ratelimit"]


def test_limit_is_the_callers_own(person):
    """One person's orders do not count for another; every way to the same action counts for the same limit."""
    ada, eve = person(), person()
    for number in range(30):
        path = "/orders" if number % 2 else "/v1/actions/shop.place_order"
        assert ada.http.post(path, json={"items": [{"sku": "tea", "quantity": 1}]}).status_code == 200
    for path in ("/orders", "/v1/actions/shop.place_order"):
        limited = ada.http.post(path, json={"items": [{"sku": "tea", "quantity": 1}]})
        assert (limited.status_code, limited.json()["code"]) == (429, "RATE_LIMITED")
        assert 0 < int(limited.headers["retry-after"]) <= 60
        assert '"shop.place_order";r=0' in limited.headers["ratelimit"]
    assert eve.order()
    assert len(ada.http.get("/v1/state/orders?page_size=500").json()["items"]) == 30


def test_input_that_is_refused_is_charged(person):
    """The limit comes before validation: nobody gets to try inputs for nothing."""
    ada = person()
    for _ in range(30):
        assert ada.act("shop.place_order", {"items": []}).status_code == 422
    assert ada.act("shop.place_order", {"items": []}).status_code == 429


async def test_the_edge_of_grpc_is_the_edge_of_http(tmp_path):
    """A flood of calls without a service's token, straight at gRPC, is refused as one of requests is: with the rule's numbers."""
    slow = {"STYLOBATE_RATELIMIT_EDGE_IP": "60/minute"}  # so that any machine is faster
    with Platform.run(tmp_path, modules=[SHOP], environ=slow) as platform:
        await _flood(platform.grpc["actions"])


async def _flood(address: str) -> None:
    async with open_channel(address) as channel:
        stub = ActionServiceStub(channel)

        async def one() -> StylobateError | None:
            try:
                await stub.ExecuteAction(ExecuteActionRequest(action="shop.place_order"), timeout=20)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error)
            return None

        outcomes = Counter[str]()
        for error in await asyncio.gather(*(one() for _ in range(200))):
            assert error is not None
            outcomes[error.reason] += 1
            if error.reason == "RATE_LIMITED":
                assert error.metadata["policy"] == "edge.ip"
                assert error.retry_after is not None
        assert set(outcomes) == {"UNAUTHENTICATED", "RATE_LIMITED"}


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 422), ({"items": [{"sku": "tea", "quantity": 0}]}, 422), ({"items": [{"sku": "tea", "quantity": 1}]}, 200)],
)
def test_whatever_a_charged_call_ends_with_it_says_what_is_left(person, body, status):
    """The action's own limit stands first in the headers of a refusal too, and in none of its metadata."""
    answer = person().act("shop.place_order", body)
    assert answer.status_code == status
    assert answer.headers["ratelimit-policy"].startswith('"shop.place_order";q=30;w=60, "edge.')
    assert answer.headers["ratelimit"].startswith('"shop.place_order";r=29;')
    assert "limit." not in answer.text
