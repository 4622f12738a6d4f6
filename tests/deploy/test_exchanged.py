"""Certificates, keys of services and a password are exchanged under load, and Vault goes, on the platform as it is deployed."""

import asyncio
import os
import signal
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import pytest
from stylobate.identity.service_keys import generate_service_keys
from stylobate.launcher.embedded.openbao import ROLE, TRANSIT_KEY
from stylobate.services import installed_services, key_holders
from stylobate.testing.authority import Authority
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.until import until
from stylobate.testing.vault import VaultServer

from tests.deploy.cluster import Cluster
from tests.deploy.production import servers

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]
SOON_S = 90.0
WITH_DATABASE = ("actions", "auth", "ratelimit", "state")
EVERY_S = 0.02


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Deployed"]:
    """Give a running platform with a Vault, over TLS all; skipped where the system has no PostgreSQL or Redis."""
    folder = tmp_path_factory.mktemp("exchanged")
    with servers(folder) as (authority, settings), _vault(folder / "vault") as vault:
        database_url = settings["STYLOBATE_DATABASE_URL"]
        vault.put("cluster/shared", database_url=database_url)
        environ = settings | {
            "STYLOBATE_DATABASE_URL": "",
            "STYLOBATE_LOG_FORMAT": "json",
            "STYLOBATE_AUTH_LOGIN_IP": "100000/minute",
            "STYLOBATE_AUTH_LOGIN_ACCOUNT": "100000/minute",
            "STYLOBATE_AUTH_TRANSIT_KEY": TRANSIT_KEY,
            "STYLOBATE_VAULT_ADDRESS": vault.tls_url,
            "STYLOBATE_VAULT_AUTHORITY": str(vault.authority),
            "STYLOBATE_VAULT_ROLE": ROLE,
            "STYLOBATE_VAULT_CREDENTIALS_FILE": str(vault.server.data / "secret_id"),
            "STYLOBATE_VAULT_PATH": "stylobate/cluster",
            "STYLOBATE_VAULT_REFRESH": "1s",
            "STYLOBATE_VAULT_REQUIRED": "database_url",
            "STYLOBATE_VAULT_IDENTITY": "true",
        }
        made = Cluster(folder / "cluster", environ, authority)
        _keep_keys(vault, dict.fromkeys(key_holders(), ""), made.folder / "keys")
        assert made.command("db", "upgrade", is_anew=True).returncode == 0
        with made.run():
            yield Deployed(made, authority, vault, database_url)


@dataclass
class Deployed:
    """What the test acts on."""

    cluster: Cluster
    authority: Authority
    vault: VaultServer
    database_url: str
    answers: Counter[str] = field(default_factory=Counter)

    def logged(self, event: str) -> list[int]:
        """Return how often each service has logged an event."""
        texts = [(self.cluster.folder / f"{name}.log").read_text(errors="replace") for name in installed_services()]
        return [text.count(f'"{event}"') for text in texts]

    async def all_log(self, event: str, before: list[int]) -> None:
        """Wait until every service has logged an event once more."""
        await until(lambda: all(now > then for now, then in zip(self.logged(event), before, strict=True)), within_s=SOON_S)

    async def statuses(self) -> list[str]:
        """Return how each process says that it is."""
        async with httpx.AsyncClient(trust_env=False, verify=NO_TLS, timeout=10) as admin:
            ports = [self.cluster.ports[name].admin for name in installed_services()]
            return [(await admin.get(f"http://127.0.0.1:{port}/status")).json()["status"] for port in ports]


async def test_nobody_notices(deployed: Deployed) -> None:
    """Fifty requests a second, a tenth of them logins, and none fails.

    Meanwhile every certificate is replaced twice, every service's key, the database's password; Vault is sealed, and killed.
    """
    trusting = ssl.create_default_context(cafile=str(deployed.authority.file))
    async with httpx.AsyncClient(base_url=deployed.cluster.gateway, verify=trusting, trust_env=False, timeout=30) as client:
        person = {"email": "ada@example.com", "password": "correct horse battery"}
        assert (await client.post("/v1/auth/register", json=person)).status_code == 201
        token = (await client.post("/v1/auth/login", json=person)).json()["access_token"]
        over = asyncio.Event()
        loading = asyncio.create_task(load(client, person, token, deployed.answers, over))
        for exchange in (certificates, keys_of_services, password, sealed, killed):
            before = deployed.answers.total()
            await exchange(deployed)
            assert {answer.split()[-1] for answer in deployed.answers} == {"200"}, (exchange, deployed.answers)
            print(f"{exchange.__name__}: {deployed.answers.total() - before} requests")  # noqa: T201  for who runs it
        over.set()
        await loading
    assert {answer.split()[-1] for answer in deployed.answers} == {"200"}, deployed.answers
    print(deployed.answers)  # noqa: T201


async def load(client: httpx.AsyncClient, person: dict[str, str], token: str, answers: Counter[str], over: asyncio.Event) -> None:
    """Ask fifty times a second."""
    headers = {"authorization": f"Bearer {token}"}

    async def ask(number: int) -> None:
        if number % 10 == 0:
            found = await client.post("/v1/auth/login", json=person)
        else:
            found = await client.get(("/v1/auth/me", "/v1/state/orders")[number % 2], headers=headers)
        answers[f"{found.request.url.path} {found.status_code}"] += 1

    async with asyncio.TaskGroup() as group:
        number = 0
        while not over.is_set():
            group.create_task(ask(number := number + 1))
            await asyncio.sleep(EVERY_S)


async def certificates(deployed: Deployed) -> None:
    """Replace the certificate that all serve and call with, twice."""
    certificate = Path(deployed.cluster.environ["STYLOBATE_TLS_CERTIFICATE"])
    for name in ("second", "third"):
        before = deployed.logged("certificates_read")
        issued = deployed.authority.issue(name)
        issued[1].replace(certificate.with_suffix(".key"))
        issued[0].replace(certificate)
        await deployed.all_log("certificates_read", before)


async def keys_of_services(deployed: Deployed) -> None:
    """Replace every key, in Vault: the public ones beside the old, the private ones, and the old public ones go."""
    old, new = deployed.cluster.folder / "keys", deployed.cluster.folder / "new"
    generate_service_keys(new, key_holders())
    for public, private in (({"": old, ".next": new}, old), ({"": old, ".next": new}, new), ({"": new}, new)):
        before = deployed.logged("service_keys_read")
        labels = {
            f"{name}{label}": (folder / f"{name}.pub.pem").read_text()
            for label, folder in public.items()
            for name in key_holders()
        }
        deployed.vault.put("cluster/identity", **labels)
        for name in installed_services():
            deployed.vault.put(f"cluster/{name}", identity_key=(private / f"{name}.pem").read_text())
        await deployed.all_log("service_keys_read", before)


async def password(deployed: Deployed) -> None:
    """Give the owner of the database another password, in Vault first, then at the server; and again the other way round."""
    parts = urlsplit(deployed.database_url)
    with_database = [name in WITH_DATABASE for name in installed_services()]
    for number in range(2):
        secret = f"another-{number}"
        url = parts._replace(netloc=f"{parts.username}:{secret}@{parts.netloc.rpartition('@')[2]}").geturl()
        before = deployed.logged("setting_taken")
        owner = await asyncpg.connect(deployed.database_url)
        if number == 0:
            deployed.vault.put("cluster/shared", database_url=url)
            await until(lambda: sum(deployed.logged("setting_not_taken")) > 0, within_s=SOON_S)
        await owner.execute(f"alter role owner password '{secret}'")
        if number == 1:
            deployed.vault.put("cluster/shared", database_url=url)
        await owner.close()
        deployed.database_url = url
        await until(
            lambda before=before: all(
                now > then or not has
                for now, then, has in zip(deployed.logged("setting_taken"), before, with_database, strict=True)
            ),
            within_s=SOON_S,
        )


async def sealed(deployed: Deployed) -> None:
    """Seal Vault: all go on and say that they are degraded, nothing starts; unsealed, all are well within ten seconds."""
    deployed.vault.seal()
    await until(deployed.statuses, lambda found: set(found) == {"degraded"}, within_s=SOON_S)
    refused = await asyncio.to_thread(deployed.cluster.command, "serve", "state", is_anew=True)
    assert refused.returncode == 2
    place = f"vault secret/stylobate/cluster/shared#database_url at {deployed.vault.tls_url}"
    said = f"STYLOBATE_DATABASE_URL: STYLOBATE_VAULT_REQUIRED wants it from {place}"
    assert said in refused.stderr, refused.stderr
    assert f"{deployed.vault.tls_url} is sealed; unseal it" in refused.stderr
    deployed.vault.unseal()
    await until(deployed.statuses, lambda found: set(found) == {"healthy"}, within_s=10.0)


async def killed(deployed: Deployed) -> None:
    """Kill Vault: all go on; started again, and unsealed, all are well by themselves."""
    process = deployed.vault.server.process
    os.kill(process.pid, signal.SIGKILL)
    await until(deployed.statuses, lambda found: set(found) == {"degraded"}, within_s=SOON_S)
    await deployed.vault.server.stop()
    await deployed.vault.server.start()
    await deployed.vault.server.ready()
    await until(deployed.statuses, lambda found: set(found) == {"healthy"}, within_s=SOON_S)


@contextmanager
def _vault(folder: Path) -> Iterator[VaultServer]:
    folder.mkdir()
    made = VaultServer(folder, is_durable=True)

    async def up() -> None:
        await made.server.start()
        await made.server.ready()

    asyncio.run(up())
    try:
        yield made
    finally:
        asyncio.run(made.server.stop())


def _keep_keys(vault: VaultServer, labels: dict[str, str], folder: Path) -> None:
    vault.put("cluster/identity", **{name: (folder / f"{name}.pub.pem").read_text() for name in labels})
    for name in installed_services():
        vault.put(f"cluster/{name}", identity_key=(folder / f"{name}.pem").read_text())
