"""Where the client of a call is: what is believed, and from whom."""

from typing import Any

import pytest
from stylobate.api.actions.v1.module_service_pb2 import ListModulesRequest
from stylobate.rpc import CallerChannel
from stylobate.rpc.call import Call, current_call

from .probe import DOORS, Services, Wire

ADDRESS, AGENT = ("stylobate-client-address", "203.0.113.9"), ("stylobate-client-agent", "curl/8.5")
USER = ("authorization", "Bearer user:7")
PEERS = {"prompt": "local", "local": "local", "unix": "local"}
"""Those whose peer has no address of its own."""


def _service(name: str) -> tuple[str, str]:
    return "stylobate-service-token", f"service:{name}"


async def _seen(wire: Wire, *metadata: tuple[str, str]) -> tuple[str, str]:
    """Return address and agent as the servicer saw them; gRPC's own agent counts as none."""
    response: Any = await wire.modules.ListModules(ListModulesRequest(), metadata=metadata)
    address, _, agent = response.modules[0].description.partition(" ")
    return address, "" if agent.startswith("grpc-") else agent


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("caller", [(), (USER,)], ids=["anonymous", "user"])
async def test_a_door_says_where_its_client_is(any_wire: Wire, door: str, caller: tuple[Any, ...]):
    """Beside the gateway's or realtime's token address and agent are the client's, over every transport."""
    assert await _seen(any_wire, _service(door), *caller, ADDRESS, AGENT) == ("203.0.113.9", "curl/8.5")
    assert await _seen(any_wire, _service(door), *caller) == ("", "")


@pytest.mark.parametrize("service", ["auth", "ratelimit", "state", "actions", "cli"])
async def test_nobody_else_says_where_a_client_is(any_wire: Wire, service: str):
    """What another service passes on is not believed, with or without a user."""
    assert await _seen(any_wire, _service(service), ADDRESS, AGENT) == ("", "")
    assert await _seen(any_wire, _service(service), USER, ADDRESS, AGENT) == ("", "")


async def test_who_calls_directly_is_where_it_is(any_wire: Wire, request: pytest.FixtureRequest):
    """Without a service token the peer counts, whatever address it claims."""
    peer = PEERS.get(request.node.callspec.params["any_wire"], "127.0.0.1")
    assert await _seen(any_wire, USER, ADDRESS, AGENT) == (peer, "")
    assert await _seen(any_wire, ADDRESS) == (peer, "")


@pytest.mark.parametrize(
    "text", ["", "x", "203.0.113.9:80", "::ffff:203.0.113.9", "2001:DB8::1", "203.0.113.9, 1.1.1.1", "1" * 500]
)
async def test_an_address_in_another_spelling_is_none(local: Wire, text: str):
    """A door writes addresses in one way; what is written in another is not taken to be one."""
    assert (await _seen(local, _service("gateway"), ("stylobate-client-address", text)))[0] == ""


async def test_a_service_passes_on_what_it_was_told(local: Wire):
    """Calls made while serving one carry its client on; work in a service's own name has none."""
    channel = CallerChannel(local.channel, Services("realtime").token)
    wire = Wire(local.probe, channel, local.server, local.users)
    assert await _seen(wire) == ("", "")
    token = current_call.set(Call(client_address="2001:db8::7", client_agent="curl/8.5"))
    try:
        assert await _seen(wire) == ("2001:db8::7", "curl/8.5")
    finally:
        current_call.reset(token)
