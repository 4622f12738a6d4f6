"""The images: built, and run in production mode with TLS and passwords, each with a read-only root and no rights.

Needs podman and a base image, which ``STYLOBATE_TEST_BASE_IMAGE`` names. How podman runs here (storage, runtime, limits) is
said by its own files, see containers.conf(5) and storage.conf(5): ``CONTAINERS_CONF``, ``CONTAINERS_STORAGE_CONF``.
"""

import signal
from collections.abc import Iterator

import pytest
from stylobate.services import installed_services

from tests.deploy.containers import Containers, absent, build, layers, remove, serves
from tests.deploy.production import servers

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800), pytest.mark.skipif(bool(absent()), reason=absent())]
_WITH_SCHEMA = [name for name, spec in installed_services().items() if spec.migrations]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containers]:
    """Give a platform of containers, migrated by the images themselves."""
    build()
    try:
        folder = tmp_path_factory.mktemp("images")
        with servers(folder) as (authority, settings):
            made = Containers(folder / "cluster", settings, authority)
            for name in _WITH_SCHEMA:
                upgraded = made.in_image(name, "db", "upgrade")
                assert upgraded.returncode == 0, upgraded.stderr
                assert f"{name}: applied" in upgraded.stdout
            with made.run():
                yield made
    finally:
        remove()


def test_the_demo_passes(cluster: Containers) -> None:
    """Every step of a customer's journey holds against the containers."""
    played = cluster.command("demo", "--gateway", cluster.gateway, "--realtime", cluster.realtime)
    assert played.returncode == 0, played.stdout + played.stderr + cluster.logs()
    assert "every step held" in played.stdout


def test_an_image_makes_the_first_administrator(cluster: Containers) -> None:
    """Other commands than `serve` run in the image too."""
    made = cluster.in_image("auth", "users", "create", "root@example.com", "--admin", "--password-stdin", stdin="correct horse\n")
    assert made.returncode == 0, made.stderr
    assert "with the roles admin" in made.stdout


@pytest.mark.usefixtures("cluster")
def test_the_images_share_all_but_their_service() -> None:
    """The system, the libraries and the modules are the same layers in all six, stored and pulled once, and each has its own."""
    assert [serves(name) for name in installed_services()] == [*installed_services()]
    every = {name: layers(name) for name in installed_services()}
    shared = set.intersection(*(set(digests) for digests in every.values()))
    own = {name: [digest for digest in digests if digest not in shared] for name, digests in every.items()}
    assert len(shared) >= 4, every
    assert all(len(digests) <= 2 for digests in own.values()), own


@pytest.mark.parametrize("name", installed_services())
def test_a_container_drains_and_ends(cluster: Containers, name: str) -> None:
    """SIGTERM reaches the service, which ends with 0; started again it gets ready again."""
    process = cluster.processes[name]
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, cluster.logs()
    assert '"event":"stopped"' in (cluster.folder / f"{name}.log").read_text()
    cluster.start(name)
    cluster.wait_ready(name)
