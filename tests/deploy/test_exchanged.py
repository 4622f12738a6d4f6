"""Certificates and service keys are exchanged under load, on the platform as it is deployed."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from stylobate.identity import generate_service_keys
from stylobate.services import installed_services, key_holders
from stylobate.testing.authority import Authority
from stylobate.testing.until import until

from tests.deploy.cluster import Cluster
from tests.deploy.production import servers

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
SOON_S = 90.0
EVERY_S = 0.02


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Authority]]:
    """Give a running platform; skipped where the system has no PostgreSQL or Redis."""
    folder = tmp_path_factory.mktemp("exchanged")
    with servers(folder) as (authority, settings):
        open_settings = {**settings, "STYLOBATE_AUTH_REGISTRATION": "open", "STYLOBATE_LOG_FORMAT": "json"}
        made = Cluster(folder / "cluster", open_settings, authority)
        assert made.command("db", "upgrade", is_anew=True).returncode == 0
        with made.run():
            yield made, authority


async def test_nobody_notices(cluster: tuple[Cluster, Authority]) -> None:
    """Fifty requests a second, while every certificate is replaced twice and then every service's key: none fails."""
    made, authority = cluster
    trusting = ssl.create_default_context(cafile=str(authority.file))
    answers: Counter[int] = Counter()
    async with httpx.AsyncClient(base_url=made.gateway, verify=trusting, trust_env=False, timeout=30) as client:
        person = {"email": "ada@example.com", "password": "correct horse battery"}
        assert (await client.post("/v1/auth/register", json=person)).status_code == 201
        token = (await client.post("/v1/auth/login", json=person)).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}

        async def ask(path: str) -> None:
            answers[(await client.get(path, headers=headers)).status_code] += 1

        async def load(over: asyncio.Event) -> None:
            async with asyncio.TaskGroup() as group:
                while not over.is_set():
                    for path in ("/v1/auth/me", "/v1/state/orders"):
                        group.create_task(ask(path))
                        await asyncio.sleep(EVERY_S)

        over = asyncio.Event()
        loading = asyncio.create_task(load(over))
        certificate = Path(made.environ["STYLOBATE_TLS_CERTIFICATE"])
        for name in ("second", "third"):
            before = logged(made, "certificates_read")
            issued = authority.issue(name)
            issued[1].replace(certificate.with_suffix(".key"))
            issued[0].replace(certificate)
            await until(lambda before=before: all(now > then for now, then in zip(
                logged(made, "certificates_read"), before, strict=True)), within_s=SOON_S)  # fmt: skip
        folder = Path(made.environ["STYLOBATE_IDENTITY_FOLDER"])
        new = made.folder / "new"
        generate_service_keys(new, key_holders())
        for name in key_holders():
            (folder / f"{name}.next.pub.pem").write_bytes((new / f"{name}.pub.pem").read_bytes())
        await until(lambda: min(logged(made, "service_keys_read")) >= 1, within_s=SOON_S)
        for name in key_holders():
            (new / f"{name}.pem").replace(folder / f"{name}.pem")
        await until(lambda: min(logged(made, "service_keys_read")) >= 2, within_s=SOON_S)
        for name in key_holders():
            (folder / f"{name}.next.pub.pem").replace(folder / f"{name}.pub.pem")
        await until(lambda: min(logged(made, "service_keys_read")) >= 3, within_s=SOON_S)
        over.set()
        await loading
    assert set(answers) == {200}, answers
    print(f"{answers.total()} requests")  # noqa: T201  for who runs it


def logged(made: Cluster, event: str) -> list[int]:
    """Return how often each service has logged an event."""
    texts = [(made.folder / f"{name}.log").read_text(errors="replace") for name in installed_services()]
    return [text.count(f'"{event}"') for text in texts]
