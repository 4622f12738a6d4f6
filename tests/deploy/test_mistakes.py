"""Settings that lead nowhere, against real servers with TLS and passwords: one clear line, exit code 2, no traceback."""

import shutil
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import certifi
import pytest
from stylobate.testing.platform import wait_until
from stylobate.testing.ports import free_ports

from tests.deploy.cluster import READY_WITHIN, Cluster
from tests.deploy.production import servers

pytestmark = pytest.mark.timeout(600)
DATABASE, REDIS = "STYLOBATE_DATABASE_URL", "STYLOBATE_REDIS_URL"
DB_STATUS, STATE, RATELIMIT, AUTH = ("db", "status"), ("serve", "state"), ("serve", "ratelimit"), ("serve", "auth")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give the settings of a platform that would run, on a migrated database."""
    folder = tmp_path_factory.mktemp("mistakes")
    with servers(folder) as (authority, settings):
        made = Cluster(folder / "cluster", settings, authority)
        shutil.copy(certifi.where(), made.folder / "others.pem")
        upgraded = made.command("db", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr
        yield made


class Mistake(NamedTuple):
    """Which setting is changed how, and what is said of it."""

    command: tuple[str, ...]
    setting: str
    right: str
    """The part of its value that is replaced; empty: all of it."""
    wrong: str
    said: str


MISTAKES = [
    *(
        mistake
        for command in (DB_STATUS, STATE)
        for mistake in (
            Mistake(command, DATABASE, "pass%20word", "password", "password"),
            Mistake(command, DATABASE, "owner:", "stranger:", "stranger"),
            Mistake(command, DATABASE, "/postgres?", "/nowhere?", "nowhere"),
            Mistake(command, DATABASE, "authority.pem", "absent.pem", "absent.pem"),
            Mistake(command, DATABASE, "certificates%2Fauthority.pem", "cluster%2Fkeys%2Fstate.pem", "holds no certificate"),
            Mistake(command, DATABASE, "certificates%2Fauthority.pem", "cluster%2Fothers.pem", "is not trusted"),
            Mistake(command, DATABASE, "", "mysql://owner@127.0.0.1/x", DATABASE),
            Mistake(command, DATABASE, "", "postgresql://owner@127.0.0.1:port/x", DATABASE),
        )
    ),
    Mistake(DB_STATUS, DATABASE, "{port}", "{free}", "does not answer within"),
    Mistake(RATELIMIT, REDIS, "authority.pem", "absent.pem", "absent.pem"),
    Mistake(RATELIMIT, REDIS, "certificates%2Fauthority.pem", "cluster%2Fkeys%2Fstate.pem", "holds no certificate"),
    Mistake(RATELIMIT, REDIS, "", "http://127.0.0.1", REDIS),
    Mistake(STATE, "STYLOBATE_TLS_AUTHORITY", "authority.pem", "absent.pem", "absent.pem"),
    Mistake(STATE, "STYLOBATE_TLS_KEY", "services", "absent", "absent"),
    Mistake(STATE, "STYLOBATE_IDENTITY_FOLDER", "keys", "absent", "absent"),
    Mistake(AUTH, "STYLOBATE_AUTH_SIGNING_KEY", "", "", "STYLOBATE_AUTH_SIGNING_KEY: missing secret"),
    Mistake(STATE, "STYLOBATE_GRPC_PORT", "", "0.5", "STYLOBATE_GRPC_PORT"),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda m: f"{m.command[1]}-{m.setting[10:].lower()}-{m.wrong[:30]}")
def test_a_setting_that_leads_nowhere_is_one_line(cluster: Cluster, mistake: Mistake) -> None:
    """It says what is wrong, in one line, and never the password that was right."""
    right = cluster.environ.get(mistake.setting, "")
    port = str(urlsplit(right).port) if "://" in right else ""
    part, wrong = mistake.right.format(port=port), mistake.wrong.format(free=free_ports(1))
    assert part in right
    ports = {f"STYLOBATE_{kind}_PORT": str(free_ports(1)) for kind in ("GRPC", "HTTP", "ADMIN")}
    changed = ports | {mistake.setting: right.replace(part, wrong, 1) if part else wrong}
    said = cluster.command(*mistake.command, **changed)
    errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert (said.returncode, len(errors)) == (2, 1), said.stderr
    assert mistake.said in errors[0]
    assert "Traceback" not in said.stderr + said.stdout
    assert "äöü" not in said.stderr + said.stdout


def test_a_database_that_is_not_there_yet_is_waited_for(cluster: Cluster) -> None:
    """A service that starts before its database says what it waits for, and ends when it is asked to."""
    right = cluster.environ[DATABASE]
    cluster.environ[DATABASE] = right.replace(str(urlsplit(right).port), str(free_ports(1)))
    try:
        process = cluster.start("state")
        log = cluster.folder / "state.log"
        assert wait_until(lambda: '"waiting_for"' in log.read_text(), READY_WITHIN), log.read_text()
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        cluster.environ[DATABASE] = right
