"""What the logs say when everything stops and starts in good order: nothing that somebody would have to look at."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import SHOP

_WITHIN = timedelta(seconds=90)
_GRAVE = frozenset({"warning", "error", "critical"})


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--workers", "2"), id="workers", marks=pytest.mark.soak),
        pytest.param(("--split",), id="split"),
    ],
)
def test_a_restart_in_order_warns_of_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Start, restart, stop: no line above info in any log."""
    environ = {"STYLOBATE_LOG_FORMAT": "json"}
    with Platform.run(tmp_path / "project", *arguments, modules=[SHOP], environ=environ) as platform:
        before = {name: child.pid for name, child in platform.children.items()}
        done = platform.command("restart")
        assert done.returncode == 0, done.stderr

        def is_back() -> bool:
            now = {name: child.pid for name, child in platform.children.items()}
            services = [name for name in before if name not in {"postgres", "valkey"}]
            return all(now.get(name, before[name]) != before[name] for name in services) and bool(platform.status().get("ready"))

        assert wait_until(is_back, _WITHIN), platform.log_tails()
        platform.wait_healthy(_WITHIN)
        assert platform.interrupt() == 0
        lines = [
            (file.stem, json.loads(line))
            for file in platform.log_files()
            for line in file.read_text().splitlines()
            if line.startswith("{")
        ]
    assert lines
    grave = [(stem, line) for stem, line in lines if line["level"] in _GRAVE]
    assert not grave, "\n".join(map(str, grave))
