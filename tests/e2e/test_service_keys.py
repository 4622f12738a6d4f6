"""What the keys of services open on a running platform, and what stays out of its servers' logs."""

import grpc
import httpx
import pytest
from stylobate.api.auth.v1.auth_service_pb2 import CreateUserRequest
from stylobate.api.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from stylobate.api.events.v1.event_service_pb2 import START_EARLIEST, ReadEventsRequest
from stylobate.api.events.v1.event_service_pb2_grpc import EventServiceStub
from stylobate.errors import StylobateError
from stylobate.identity.service_identity import ServiceIdentity
from stylobate.rpc import CallerChannel, open_channel
from stylobate.services import installed_services
from stylobate.testing.plain_http import NO_TLS

from tests.people import PASSWORD


def _identity(platform, name):
    folder = platform.project.identity
    return ServiceIdentity.load(name, folder / f"{name}.pem", folder)


@pytest.mark.parametrize("name", installed_services())
async def test_no_services_key_creates_an_administrator(platform, name):
    """Whoever holds the key of one service cannot use it for what only the operator does."""
    request = CreateUserRequest(email=f"{name}@example.com", password=PASSWORD, roles=["admin"])
    async with open_channel(platform.grpc["auth"]) as channel:
        stub = AuthServiceStub(CallerChannel(channel, _identity(platform, name).to("auth")))
        with pytest.raises(StylobateError) as refused:
            await stub.CreateUser(request)
    assert refused.value.reason == "SERVICE_NOT_ALLOWED"


@pytest.mark.parametrize("audience", ["state", "gateway", "stylobate"])
async def test_a_token_for_another_service_is_refused_in_the_same_process(platform, audience):
    """All services share a process here, and still a token is good at the one that it names."""
    identity = _identity(platform, "cli")
    metadata = (("stylobate-service-token", identity.token(audience)), ("stylobate-own-name", "true"))
    async with open_channel(platform.grpc["auth"]) as channel:
        call = AuthServiceStub(channel).CreateUser(CreateUserRequest(), metadata=metadata)
        assert await call.code() is grpc.StatusCode.UNAUTHENTICATED
        assert await call.details() == "The service token is not valid here."


async def test_the_operator_reads_an_event_log(platform, person):
    """As docs/how-to/call-over-grpc.md says."""
    person().order()
    request = ReadEventsRequest(source="state", start=START_EARLIEST, types=["state.orders.*"])
    async with open_channel(platform.grpc["state"]) as channel:
        log = EventServiceStub(CallerChannel(channel, _identity(platform, "cli").to("state")))
        call = log.ReadEvents(request, timeout=30)
        seen = []
        async for message in call:
            seen += message.events
            if seen:
                break
        call.cancel()
    assert b"state.orders.created" in seen[0].event


def test_a_taken_address_stands_in_no_servers_log(platform):
    """Registering an address again is refused without the database server writing it down; so is a wrong login."""
    email = "somebody-rather-unmistakable@example.com"
    body = {"email": email, "password": PASSWORD}
    answers = [httpx.post(f"{platform.gateway}/v1/auth/register", json=body, verify=NO_TLS).status_code for _ in range(3)]
    assert answers == [201, 409, 409]
    wrong = {"email": email, "password": "not this one"}
    assert httpx.post(f"{platform.gateway}/v1/auth/login", json=wrong, verify=NO_TLS).status_code == 401
    for file in (platform.output, *platform.project.logs.glob("*")):
        assert b"unmistakable" not in file.read_bytes(), file.name
