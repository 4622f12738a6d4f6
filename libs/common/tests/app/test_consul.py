"""A process that lets itself be found by Consul: of a contract server of our own, no real agent was met."""

import pytest
from stylobate.app.discovery import check_discovery
from stylobate.app.settings import HostSettings
from stylobate.config import ConfigError
from stylobate.testing.consul_contract import ConsulContract
from stylobate.testing.ports import free_ports
from stylobate.testing.until import until


async def nothing(_app, _settings) -> None:
    """Build nothing."""


async def test_a_process_is_registered_while_it_takes_requests(hosts, auth, probe) -> None:
    """It is there once ready, again when the agent forgot it, and gone before its listeners close; another process finds it."""
    async with ConsulContract.run() as consul:
        consul.token = "a token"
        port = free_ports(1)
        environ = {
            "STYLOBATE_DISCOVERY": "consul",
            "STYLOBATE_CONSUL_URL": consul.url,
            "STYLOBATE_CONSUL_TOKEN": consul.token,
            "STYLOBATE_CONSUL_ADVERTISE": "127.0.0.1",
            "STYLOBATE_CONSUL_TTL": "3s",
            "STYLOBATE_CONSUL_WEIGHT": "3",
        }
        async with hosts.open(auth, environ=environ, grpc=(f"127.0.0.1:{port}",), admin="", node="a"):
            await until(lambda: consul.passing == {"stylobate-auth-a"})
            entry = consul.services["stylobate-auth-a"]
            assert entry["Service"] == "stylobate-auth"
            assert (entry["Address"], entry["Port"], entry["Weights"]["Passing"]) == ("127.0.0.1", port, 3)
            await consul.forget()
            await until(lambda: consul.passing == {"stylobate-auth-a"})
            addresses = {"auth": "consul:///stylobate-auth"}
            async with hosts.open(probe(nothing), environ=environ, addresses=addresses, node="b") as host:
                assert host.is_ready
                found = (await hosts.ask("/status")).json()["discovery"]["found"]["auth"]
                assert found["how"] == f"consul stylobate-auth at {consul.url}"
                assert found["addresses"] == {f"ipv4:127.0.0.1:{port}": 3}
        assert not consul.services


async def test_an_agent_that_does_not_answer_holds_nobody_up(hosts, auth) -> None:
    """The process starts, says in its health that nobody may find it, and stops in time, whatever the agent does."""
    async with ConsulContract.run() as consul:
        consul.is_silent = True
        environ = {"STYLOBATE_DISCOVERY": "consul", "STYLOBATE_CONSUL_URL": consul.url, "STYLOBATE_CONSUL_ADVERTISE": "127.0.0.1"}
        async with hosts.open(auth, environ=environ, grpc=("127.0.0.1:0",)) as host:
            assert host.is_ready
    gone = {**environ, "STYLOBATE_CONSUL_URL": consul.url}
    async with hosts.open(auth, environ=gone, grpc=("127.0.0.1:0",)) as host:
        await until(lambda: host._finder.health().details.startswith(f"not registered: Consul at {consul.url} does not answer"))
        assert host.is_ready


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start is refused with what to install."""
    monkeypatch.setattr("stylobate.app.discovery.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r"pip install 'stylobate\[consul\]'"):
        check_discovery(HostSettings(discovery="consul"))
