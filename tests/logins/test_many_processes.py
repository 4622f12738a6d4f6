"""Limits of logins are those of the platform, not of a process, a door or an address that a client makes up."""

import asyncio
from collections import Counter
from typing import Any

import grpc
import httpx
import pytest
from stylobate.api.auth.v1.auth_service_pb2 import LoginUserRequest, RefreshSessionRequest, RegisterUserRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

from .conftest import PASSWORD, Visitor

ENOUGH = 60


async def _fresh(platform: Platform, address: str, path: str, **body: Any) -> str:
    """Ask over a connection of its own, so that any process may answer; return the code of the problem."""
    async with httpx.AsyncClient(base_url=platform.gateway, timeout=60, verify=NO_TLS) as http:
        answer = await Visitor(http, address).ask(path, **body)
        return answer.json().get("code", "in")


async def test_an_account_is_counted_over_all_processes(platform: Platform) -> None:
    """Many addresses that guess one account get as many tries as the rule says, whichever process they ask; the owner gets in."""
    async with httpx.AsyncClient(base_url=platform.gateway, timeout=60, verify=NO_TLS) as http:
        owner = Visitor(http, "198.51.100.1")
        await owner.register()
        assert await owner.login() == "in"
        guesses = (
            _fresh(platform, f"203.0.113.{number}", "login", email=owner.email, password="a guess") for number in range(ENOUGH)
        )
        ends = Counter(await asyncio.gather(*guesses))
        assert ends == {"AUTH_INVALID_CREDENTIALS": 6, "RATE_LIMITED": ENOUGH - 6}  # the owner's first login was one of seven
        assert await owner.login() == "in"


@pytest.mark.parametrize(
    ("path", "body", "allowed", "otherwise"),
    [
        ("login", {"email": "nobody-{}@example.com", "password": PASSWORD}, 40, "AUTH_INVALID_CREDENTIALS"),
        ("register", {"email": "junk-{}", "password": PASSWORD}, 8, "AUTH_INVALID_INPUT"),
        ("refresh", {"refresh_token": "made-up-{}"}, 9, "AUTH_REFRESH_INVALID"),
    ],
)
async def test_an_address_is_counted_over_all_processes(
    platform: Platform, path: str, body: dict[str, str], allowed: int, otherwise: str
) -> None:
    """Whatever one address makes up, it gets no more than its rule; what it claims to be does not matter."""

    async def ask(number: int) -> str:
        forwarded = f"192.0.2.{number}, 203.0.113.77"  # what stands on the left is the client's own
        return await _fresh(platform, forwarded, path, **{name: value.format(number) for name, value in body.items()})

    ends = Counter(await asyncio.gather(*(ask(number) for number in range(ENOUGH))))
    assert ends == {otherwise: allowed, "RATE_LIMITED": ENOUGH - allowed}


@pytest.mark.parametrize(
    ("method", "request_of", "allowed"),
    [
        ("LoginUser", lambda n: LoginUserRequest(email=f"nobody-{n}@example.com", password=PASSWORD), 40),
        ("RegisterUser", lambda n: RegisterUserRequest(email="junk", password=PASSWORD), 8),
        ("RefreshSession", lambda n: RefreshSessionRequest(refresh_token=f"made up {n}"), 9),
    ],
)
async def test_without_a_door_the_peer_is_counted(platform: Platform, method: str, request_of: Any, allowed: int) -> None:
    """Over gRPC the rules hold as well; an address that a client claims there counts for nothing."""
    async with grpc.aio.insecure_channel(platform.grpc["auth"]) as channel:
        call = getattr(AuthServiceStub(channel), method)

        async def ask(number: int) -> bool:
            claimed = (("stylobate-client-address", f"192.0.2.{number}"), ("x-forwarded-for", f"192.0.2.{number}"))
            code = await call(request_of(number), metadata=claimed).code()
            return code is grpc.StatusCode.RESOURCE_EXHAUSTED

        refused = await asyncio.gather(*(ask(number) for number in range(ENOUGH)))
    assert refused.count(False) == allowed
