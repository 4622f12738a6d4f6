"""A watcher's journey: two processes of each service, killed in turn, with Valkey and the database, round after round."""

from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import SHOP
from tests.faults.conftest import BRISK
from tests.faults.keyed import listed
from tests.faults.traffic import UNHELD, Traffic
from tests.people import PASSWORD, Person
from tests.watcher import StateWatcher

ROUNDS, WATCHERS = 8, 6
WITHIN = timedelta(seconds=60)
_HELD = {"STYLOBATE_RATELIMIT_EDGE_IP": "6000/second", "STYLOBATE_RATELIMIT_EDGE_USER": "6000/second"}

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # of the realtime SDK, in the traffic
]


def test_watchers_hear_everything_once_whoever_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Either process of state may number the events and either may serve a watch; each change is heard once and in order."""
    environ = UNHELD | BRISK | _HELD | {"STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME": "15m"}  # a watch ends with its token
    kills = 0
    with (
        Platform.run(tmp_path / "project", "--split", "--workers", "2", modules=[SHOP], environ=environ) as platform,
        Person(platform.gateway, "admin") as admin,
    ):
        made = platform.command("users", "create", admin.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        headers = dict(admin.login().http.headers)
        watchers = [StateWatcher(platform.gateway, headers, "/v1/state/orders/watch") for _ in range(WATCHERS)]
        with Traffic(platform) as traffic:
            for watcher in watchers:
                watcher.__enter__()
            try:
                assert all(watcher.is_following.wait(60) for watcher in watchers)
                for victim in ("state-0", "state-1", "gateway-0", "state-1", "gateway-1", "valkey", "postgres") * ROUNDS:
                    heard = [watcher.changes for watcher in watchers]
                    platform.kill(victim)
                    kills += 1
                    platform.wait_healthy(WITHIN)
                    assert wait_until(
                        lambda heard=heard: all(w.changes > was for w, was in zip(watchers, heard, strict=True)), WITHIN
                    ), victim
                traffic.stop()
                assert wait_until(
                    lambda: all(watcher.versions == listed(admin.login(), "orders", "version") for watcher in watchers), WITHIN
                ), [watcher.wrong for watcher in watchers]
            finally:
                for watcher in watchers:
                    watcher.__exit__(None, None, None)
    assert [(watcher.wrong, watcher.gaps) for watcher in watchers] == [([], 0)] * WATCHERS
    with capsys.disabled():
        changes, connections = (sum(getattr(watcher, name) for watcher in watchers) for name in ("changes", "connections"))
        print(f"\n{kills} kills; {changes} changes told over {connections} connections, none twice, none missing")  # noqa: T201
