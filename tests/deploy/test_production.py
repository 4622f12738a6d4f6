"""The platform as it is deployed: production mode, a process per service, TLS and passwords everywhere, servers of the system."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import key_holders
from stylobate.testing.authority import Authority
from stylobate.testing.ports import free_ports

from tests.deploy.cluster import Cluster
from tests.deploy.production import servers

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Give a migrated, running platform; skipped where the system has no PostgreSQL or Redis."""
    folder = tmp_path_factory.mktemp("production")
    with servers(folder) as (authority, settings):
        made = Cluster(folder / "cluster", settings, authority)
        upgraded = made.command("db", "upgrade", is_anew=True)
        assert upgraded.returncode == 0, upgraded.stderr
        with made.run():
            yield made


def test_the_demo_passes(cluster: Cluster) -> None:
    """Every step of a customer's journey holds against the deployed services."""
    played = cluster.command("demo", "--gateway", cluster.gateway, "--realtime", cluster.realtime)
    assert played.returncode == 0, played.stdout + played.stderr + cluster.logs()
    assert "every step held" in played.stdout


def test_the_first_administrator_is_made_over_tls(cluster: Cluster) -> None:
    """`users create` reaches auth by its address, with the operator's key and the platform's certificates."""
    arguments = ("users", "create", "root@example.com", "--admin", "--password-stdin")
    made = cluster.command(*arguments, stdin="correct horse battery\n", is_anew=True)
    assert made.returncode == 0, made.stderr
    assert "with the roles" in made.stdout


def astray(cluster: Cluster, folder: Path) -> dict[str, tuple[dict[str, str], str]]:
    """Return settings that lead an operator astray, and what is said of them."""
    generate_service_keys(folder / "keys", key_holders())
    (folder / "pki").mkdir()
    other = Authority(folder / "pki")
    certificate, key = (str(file) for file in other.issue("other"))
    tls = "STYLOBATE_TLS_AUTHORITY or STYLOBATE_TLS_CERTIFICATE: no TLS"
    address, certificates = (
        "STYLOBATE_AUTH_ADDRESS",
        ("STYLOBATE_TLS_CERTIFICATE", "STYLOBATE_TLS_KEY", "STYLOBATE_TLS_AUTHORITY"),
    )
    return {
        "nobody there": ({address: f"dns:///localhost:{free_ports(1)}"}, f"{address}: auth does not answer"),
        "no such host": ({address: "dns:///nowhere.invalid:9090"}, f"{address}: auth does not answer"),
        "another service": ({address: cluster.environ["STYLOBATE_RATELIMIT_ADDRESS"]}, "is not auth"),
        "another authority": ({"STYLOBATE_TLS_AUTHORITY": str(other.file)}, tls),
        "another certificate": ({"STYLOBATE_TLS_CERTIFICATE": certificate, "STYLOBATE_TLS_KEY": key}, tls),
        "no TLS": (dict.fromkeys(certificates, ""), tls),
        "another key": ({"STYLOBATE_TLS_KEY": key}, "STYLOBATE_TLS_KEY: "),
        "other service keys": (
            {"STYLOBATE_IDENTITY_FOLDER": str(folder / "keys")},
            "STYLOBATE_IDENTITY_FOLDER: auth does not know",
        ),
    }


def test_an_operator_who_is_led_astray_is_told_by_what(cluster: Cluster, tmp_path: Path) -> None:
    """`users create` names the setting in one line, whatever keeps it from auth."""
    for name, (changed, about) in astray(cluster, tmp_path).items():
        said = cluster.command("users", "create", "x@example.com", "--password-stdin", stdin="correct horse battery\n", **changed)
        errors = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
        assert (said.returncode, len(errors)) == (2, 1), (name, said.stderr)
        assert about in errors[0], name
        assert "Traceback" not in said.stderr + said.stdout, name


def test_everything_that_is_logged_is_json(cluster: Cluster) -> None:
    """Each line of each process, its libraries' too, can be read by a machine and says which service wrote it."""
    for file in cluster.folder.glob("*.log"):
        for line in file.read_text().splitlines():
            assert line.startswith("{"), (file.name, line)
            assert json.loads(line)["service"] == file.stem, line


def test_a_service_drains_and_ends(cluster: Cluster) -> None:
    """SIGTERM ends a process with exit code 0 and with lines that say so; started again it is ready again."""
    process = cluster.processes["ratelimit"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, cluster.logs()
    events = [json.loads(line)["event"] for line in (cluster.folder / "ratelimit.log").read_text().splitlines()]
    assert events[-1] == "stopped"
    assert {"stop_asked", "draining"} <= set(events)
    cluster.start("ratelimit")
    cluster.wait_ready("ratelimit")
