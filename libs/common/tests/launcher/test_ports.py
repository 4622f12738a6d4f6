"""Which addresses the processes of a platform get."""

from itertools import chain
from pathlib import Path

import pytest
from stylobate.launcher.container import placement_of
from stylobate.launcher.output import CommandError
from stylobate.launcher.ports import Ports, one_process, split, workers
from stylobate.services import installed_services

DATA, RUN = Path("/project/.stylobate"), Path("/run/x")
LAYOUTS = {
    "one": lambda ports: one_process(ports, DATA),
    "workers": lambda ports: workers(ports, DATA, RUN, 3),
    "split": lambda ports: split(ports, DATA, RUN, 1),
    "split workers": lambda ports: split(ports, DATA, RUN, 2),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_process_has_addresses_of_its_own(kind) -> None:
    """No two listeners share an address, unless they are workers and say so; names of processes are unique."""
    layout = LAYOUTS[kind](Ports())
    nodes = [placement.node for placement in layout.placements]
    assert len(nodes) == len(set(nodes))
    listening = list(chain.from_iterable({*p.grpc, p.http, p.admin} - {""} for p in layout.placements if not p.reuse_port))
    assert len(listening) == len(set(listening))
    admins = [placement.admin for placement in layout.placements]
    assert len(admins) == len(set(admins))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_service_is_hosted_or_known(kind) -> None:
    """Each process hosts a service or has an address where some process listens; all addresses are on the loopback."""
    layout = LAYOUTS[kind](Ports())
    listening = set(chain.from_iterable(placement.grpc for placement in layout.placements))
    for placement in layout.placements:
        assert {*placement.services, *placement.addresses} == set(installed_services())
        assert set(placement.addresses.values()) <= listening
        assert all(address.startswith(("unix:", "127.0.0.1:")) for address in (*placement.grpc, placement.admin))


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_second_platform_fits_beside_the_first(kind) -> None:
    """With a base port every port lies within ten of it, and none is one of the documented ones."""
    layout = LAYOUTS[kind](Ports(36000))
    texts = [*chain.from_iterable((*p.grpc, p.http) for p in layout.placements), *layout.endpoints.values()]
    ports = {int(text.rpartition(":")[2].partition("/")[0]) for text in texts if text and not text.startswith("unix:")}
    assert ports <= set(range(36000, 36010))


def test_a_container_listens_and_finds_the_others_by_name() -> None:
    """The documented ports and names of Kubernetes services, each by setting another; no HTTP port where nothing uses one."""
    plain = placement_of(["auth", "auth"], {})
    assert (plain.services, plain.grpc, plain.http, plain.admin) == (("auth",), ("0.0.0.0:9090",), "", "0.0.0.0:8081")
    assert plain.addresses["state"] == "dns:///stylobate-state:9090"
    assert "auth" not in plain.addresses
    told = {"STYLOBATE_STATE_ADDRESS": "10.0.0.1:9090"}
    by_consul = placement_of(["auth"], {"STYLOBATE_DISCOVERY": "consul", "STYLOBATE_CONSUL_PREFIX": "shop-", **told})
    assert (by_consul.addresses["actions"], by_consul.addresses["state"]) == ("consul:///shop-actions", "10.0.0.1:9090")
    assert placement_of(["auth"], {"STYLOBATE_DISCOVERY": "static", **told}).addresses == {"state": "10.0.0.1:9090"}
    other = placement_of(
        ["gateway"], {"STYLOBATE_LISTEN": "::1", "STYLOBATE_HTTP_PORT": "1", "STYLOBATE_AUTH_ADDRESS": "unix:/run/auth"}
    )
    assert (other.http, other.addresses["auth"]) == ("[::1]:1", "unix:/run/auth")


@pytest.mark.parametrize("port", ["", "http", "-1", "0", "65536", "80.5"])
def test_a_port_that_is_none_is_refused(port) -> None:
    """With the name of the setting."""
    with pytest.raises(CommandError, match=f"STYLOBATE_GRPC_PORT: {port} is not a port"):
        placement_of(["auth"], {"STYLOBATE_GRPC_PORT": port})
