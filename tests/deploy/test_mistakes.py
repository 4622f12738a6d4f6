"""Settings that lead nowhere, against real servers with TLS and passwords: one clear line, exit code 2, no traceback."""

import shutil
import signal
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import certifi
import pytest
from stylobate.services import installed_services
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.deploy.cluster import READY_WITHIN, Cluster
from tests.deploy.production import servers
from tests.deploy.servers import plain_redis, redis_program

pytestmark = pytest.mark.timeout(600)
DATABASE, REPLICA, REDIS = "STYLOBATE_DATABASE_URL", "STYLOBATE_DATABASE_REPLICA_URL", "STYLOBATE_REDIS_URL"
WITH_DATABASE = ("auth", "state", "actions")
SERVE_ALL, DB_STATUS, STATE, RATELIMIT = (
    ("serve", *installed_services()),
    ("db", "status"),
    ("serve", "state"),
    ("serve", "ratelimit"),
)
ON_THE_DATABASE = [
    ("db", "upgrade"),
    ("db", "restored"),
    ("hooks", "list"),
    ("events", "dead", "list"),
    ("hooks", "rewind", "h", "--end"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give the settings of a platform that would run, on a migrated database."""
    folder = tmp_path_factory.mktemp("mistakes")
    with servers(folder) as (authority, settings):
        made = Cluster(folder / "cluster", settings | {REPLICA: settings[DATABASE]}, authority, is_anew=False)
        shutil.copy(certifi.where(), made.folder / "others.pem")
        upgraded = made.command("db", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr
        yield made


@pytest.fixture(scope="module")
def plain(cluster: Cluster) -> Iterator[int]:
    """Give the port of a Redis that speaks no TLS."""
    program = redis_program()
    assert program is not None
    with plain_redis(cluster.folder / "plain", program) as port:
        yield port


class Change(NamedTuple):
    """How a setting is made wrong, and what is said of it."""

    right: str
    """The part of its value that is replaced; empty: all of it."""
    wrong: str
    said: str


class Mistake(NamedTuple):
    """Which setting of which command is wrong, and how."""

    command: tuple[str, ...]
    setting: str
    change: Change


OF_DATABASES = [
    Change("pass%20word", "password", "password"),
    Change("owner:", "stranger:", "stranger"),
    Change("/postgres?", "/nowhere?", "nowhere"),
    Change("authority.pem", "absent.pem", "absent.pem"),
    Change("certificates%2Fauthority.pem", "cluster%2Fkeys%2Fstate.pem", "holds no certificate"),
    Change("certificates%2Fauthority.pem", "cluster%2Fothers.pem", "is not trusted"),
    Change("verify-full", "disable", "no encryption"),
    Change("verify-full", "nonsense", "sslmode"),
    Change("", "mysql://owner@127.0.0.1/x", "must begin with postgresql://"),
    Change("", "postgresql://owner@127.0.0.1:port/x", "'port'"),
]
OF_REDIS = [
    Change("pass%20word", "password", "WRONGPASS"),
    Change("://:", "://stranger:", "WRONGPASS"),
    Change("/0?", "/99?", "DB index"),
    Change("authority.pem", "absent.pem", "absent.pem"),
    Change("certificates%2Fauthority.pem", "cluster%2Fkeys%2Fstate.pem", "holds no certificate"),
    Change("certificates%2Fauthority.pem", "cluster%2Fothers.pem", "is not trusted"),
    Change("rediss://", "redis://", "it speaks TLS"),
    Change("{port}", "{plain}", "it speaks no TLS"),
    Change("", "http://127.0.0.1", REDIS),
]
OTHERS = [
    *(Mistake(command, DATABASE, OF_DATABASES[0]) for command in ON_THE_DATABASE),
    Mistake(DB_STATUS, DATABASE, Change("{port}", "{free}", "does not answer within")),
    Mistake(STATE, REPLICA, OF_DATABASES[0]),
    Mistake(STATE, REPLICA, OF_DATABASES[5]),
    Mistake(STATE, "STYLOBATE_TLS_AUTHORITY", Change("authority.pem", "absent.pem", "absent.pem")),
    Mistake(STATE, "STYLOBATE_TLS_KEY", Change("services", "absent", "absent")),
    Mistake(STATE, "STYLOBATE_TLS_KEY", Change("services", "redis", "is not the private key")),
    Mistake(STATE, "STYLOBATE_TLS_CERTIFICATE", Change("services.pem", "services.key", "is not the private key")),
    Mistake(STATE, "STYLOBATE_TLS_AUTHORITY", Change("authority.pem", "services.key", "holds no certificate")),
    Mistake(STATE, "STYLOBATE_IDENTITY_FOLDER", Change("keys", "absent", "absent")),
    Mistake(STATE, "STYLOBATE_IDENTITY_PRIVATE_KEY", Change("", "/absent.pem", "/absent.pem: missing")),
    Mistake(("serve", "auth"), "STYLOBATE_AUTH_SIGNING_KEY", Change("", "", "missing secret")),
    Mistake(STATE, "STYLOBATE_GRPC_PORT", Change("", "0.5", "is not a port")),
]
TABLE = [
    *(Mistake(command, DATABASE, change) for command in (SERVE_ALL, DB_STATUS) for change in OF_DATABASES),
    *(Mistake(RATELIMIT, REDIS, change) for change in OF_REDIS),
    *OTHERS,
]
WHOLE_TABLE = [
    *(Mistake(command, DATABASE, change) for command in ON_THE_DATABASE for change in OF_DATABASES),
    *(Mistake(("serve", name), DATABASE, change) for name in WITH_DATABASE for change in OF_DATABASES),
    *(Mistake(("serve", name), REPLICA, change) for name in WITH_DATABASE for change in OF_DATABASES),
    *(Mistake(("serve", name), REDIS, change) for name in installed_services() for change in OF_REDIS),
]


def named(mistake: Mistake) -> str:
    """Return the name of a case."""
    command = "all" if mistake.command == SERVE_ALL else mistake.command[1]
    return f"{command}-{mistake.setting[10:].lower()}-{mistake.change.wrong[:30]}"


@pytest.mark.parametrize("mistake", TABLE, ids=named)
def test_a_setting_that_leads_nowhere_is_one_line(cluster: Cluster, plain: int, mistake: Mistake) -> None:
    """It names the setting and says what is wrong with it, in one line, and never the password that was right."""
    check(cluster, plain, mistake)


@pytest.mark.soak
@pytest.mark.parametrize("mistake", WHOLE_TABLE, ids=named)
def test_every_service_and_command_says_it_alike(cluster: Cluster, plain: int, mistake: Mistake) -> None:
    """Every mistake, each service and command by itself."""
    check(cluster, plain, mistake)


def check(cluster: Cluster, plain: int, mistake: Mistake) -> None:
    """Make the mistake and look at what is said."""
    setting, (part, wrong, about) = mistake.setting, mistake.change
    right = cluster.environ.get(setting, "")
    port = str(urlsplit(right).port) if "://" in right else ""
    part, wrong = part.format(port=port), wrong.format(free=free_ports(1), plain=plain)
    assert part in right
    ports = {f"STYLOBATE_{kind}_PORT": str(free_ports(1)) for kind in ("GRPC", "HTTP", "ADMIN")}
    changed = ports | {setting: right.replace(part, wrong, 1) if part else wrong}
    said = cluster.command(*mistake.command, **changed)
    errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert (said.returncode, len(errors)) == (2, 1), said.stderr
    assert about in errors[0]
    assert setting in errors[0]
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
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        cluster.environ[DATABASE] = right
