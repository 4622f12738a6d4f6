"""Hooks on what an ephemeral namespace does not tell."""

import pytest
from stylobate.config import Sources
from stylobate.modules.check import check_modules

MODULE = """\
from stylobate.modules import BaseModule, HookContext, on
from stylobate.modules import Event


class Lobby(BaseModule):
    @on("{}")
    async def heard(self, ctx: HookContext, event: Event) -> None: ...
"""


@pytest.mark.parametrize(
    ("pattern", "is_refused"),
    [("state.players.*", True), ("state.players.created", True), ("state.games.*", False), ("state.*.created", False)],
)
def test_a_hook_on_an_ephemeral_namespace_is_a_finding(tmp_path, pattern, is_refused):
    """It would never be called; one on all namespaces hears of the durable ones."""
    folder = tmp_path / "lobby"
    folder.mkdir()
    (folder / "module.yaml").write_text("name: lobby\n")
    (folder / "states.yaml").write_text("namespaces:\n  games: {}\n  players: { durability: ephemeral, ttl: 1m }\n")
    (folder / "module.py").write_text(MODULE.format(pattern))
    findings = [finding.message for finding in check_modules(str(folder), Sources({}, ()))]
    assert [message for message in findings if "nothing is ever published as" in message] == findings
    assert bool(findings) == is_refused
