"""Commands tell servers from services by name."""

from pathlib import Path

import pytest
from stylobate.launcher.environment import SERVERS, LocalServers
from stylobate.launcher.project import Project


@pytest.mark.parametrize("mongodb_port", [0, 27018])
def test_every_server_is_known_by_the_name_of_its_process(tmp_path: Path, mongodb_port: int) -> None:
    """`restart` waits for all others to be other ones; a server stays."""
    servers = LocalServers(Project(tmp_path), {}, vault_port=8200, mongodb_port=mongodb_port).all
    assert len(servers) == 3
    assert {server.process.name for server in servers} <= SERVERS
