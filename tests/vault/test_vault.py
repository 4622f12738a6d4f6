"""`stylobate up --vault`: a platform whose secrets change under traffic, and whose Vault is sealed and killed."""

import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import asyncpg
import hvac
import pytest
import requests
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult, LoginPassword
from stylobate.identity.service_keys import generate_service_keys
from stylobate.services import key_holders
from stylobate.testing import commands
from stylobate.testing.authority import Authority
from stylobate.testing.platform import Platform
from stylobate.testing.ports import free_ports
from stylobate.testing.until import wait_until

from tests.people import PASSWORD, Person

SOON = timedelta(seconds=20)
STATES = """\
namespaces:
  people:
    schema: { type: object, properties: { ssn: { type: string } } }
    access: { read: owner, create: authenticated, write: owner }
    encrypted_fields: [ssn]
"""
EVERY_S = 0.02
"""Between two requests of the load: fifty a second."""


@pytest.fixture(scope="module")
def relay(tmp_path_factory) -> Iterator["Relay"]:
    """Give a mail server that asks for a password, over TLS."""
    authority = Authority(tmp_path_factory.mktemp("relay"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.issue("relay"))
    relay = Relay()
    options: dict[str, Any] = {"authenticator": relay.login, "auth_required": True, "require_starttls": True}
    server = Controller(relay, "127.0.0.1", free_ports(1), tls_context=context, **options)
    server.start()
    relay.settings = {
        "STYLOBATE_AUTH_SMTP_HOST": "127.0.0.1",
        "STYLOBATE_AUTH_SMTP_PORT": str(server.port),
        "STYLOBATE_AUTH_SMTP_SECURITY": "starttls",
        "STYLOBATE_AUTH_SMTP_AUTHORITY": str(authority.file),
        "STYLOBATE_AUTH_SMTP_USER": "shop",
        "STYLOBATE_AUTH_MAIL_FROM": "no-reply@example.com",
    }
    yield relay
    server.stop()


@pytest.fixture(scope="module")
def platform(tmp_path_factory, relay) -> Iterator[Platform]:
    """Give a platform with OpenBao beside it, which looks for changes every second."""
    environ = {"STYLOBATE_VAULT_REFRESH": "1s", "STYLOBATE_LOG_FORMAT": "json", "STYLOBATE_AUTH_LOGIN_IP": "1000/second"}
    environ["STYLOBATE_AUTH_LOGIN_ACCOUNT"] = "1000/second"
    environ["STYLOBATE_STATE_TRANSIT_KEY"] = "stylobate"
    environ |= relay.settings
    folder = tmp_path_factory.mktemp("vault")
    (folder / "modules" / "desk").mkdir(parents=True)
    (folder / "modules" / "desk" / "module.yaml").write_text("name: desk\n")
    (folder / "modules" / "desk" / "states.yaml").write_text(STATES)
    with Platform.run(folder, "--vault", environ=environ) as running:
        yield running


@pytest.fixture
def ada(platform) -> Iterator[Person]:
    """Give somebody with an account."""
    with Person(platform.gateway) as person:
        yield person.register()


def _root(platform: Platform) -> Any:
    token = (platform.project.data / "vault" / "root_token").read_text()
    return hvac.Client(url=platform.endpoints["vault"], token=token)


def _put(platform: Platform, path: str, **values: str) -> None:
    """Write values beside those that are there."""
    kv = _root(platform).secrets.kv.v2
    with suppress(hvac.exceptions.InvalidPath):  # the first
        values = kv.read_secret_version(f"stylobate/{path}", raise_on_deleted_version=True)["data"]["data"] | values
    kv.create_or_update_secret(f"stylobate/{path}", values)


def _vault(platform: Platform) -> dict[str, Any]:
    return platform.status().get("vault", {})


def _is_active(platform: Platform) -> bool:
    try:
        return bool(_root(platform).sys.read_health_status(method="GET")["initialized"] and not _root(platform).sys.is_sealed())
    except (requests.RequestException, hvac.exceptions.VaultError, TypeError):
        return False


@contextmanager
def _load(person: Person, answers: Counter[int]) -> Iterator[None]:
    """Send fifty requests a second meanwhile that read and write the database: profiles, logins."""
    over = Event()

    def send() -> None:
        count = 0
        while not over.wait(EVERY_S):
            count += 1
            if count % 10 == 1:  # an encrypted field, by a key that Transit has opened
                written = person.http.put(f"/v1/state/people/{id(over)}", json={"data": {"ssn": str(count)}})
                answers[200 if written.is_success else written.status_code] += 1
            elif count % 10:
                answers[person.http.get("/v1/auth/me").status_code] += 1
            else:
                credentials = {"email": person.email, "password": PASSWORD}
                answers[person.http.post("/v1/auth/login", json=credentials).status_code] += 1

    thread = Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


async def _as_owner(platform: Platform, *statements: str) -> None:
    lines = (platform.project.data / "postgres" / "cluster" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    connection = await asyncpg.connect(host=lines[4], port=int(lines[3]), user="stylobate", database="stylobate")
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def test_the_password_of_the_database_is_exchanged_under_load(platform, ada) -> None:
    """No request fails: another user with a password takes over, then gets another password, at the server and in Vault."""
    cluster = platform.project.data / "postgres" / "cluster"
    rules = (cluster / "pg_hba.conf").read_text()
    (cluster / "pg_hba.conf").write_text("local all app scram-sha-256\n" + rules)
    await _as_owner(platform, "select pg_reload_conf()", "create role app superuser login password 'pw-3141-first'")
    answers: Counter[int] = Counter()
    socket = (cluster / "postmaster.pid").read_text().splitlines()[4]

    def taken() -> int:
        log = (platform.project.logs / "platform.log").read_text()
        return sum('"setting_taken"' in line and "STYLOBATE_DATABASE_URL" in line for line in log.splitlines())

    with _load(ada, answers):
        for password in ("pw-3141-first", "pw-2718-second"):
            before = taken()
            _put(platform, "shared", database_url=f"postgresql://app:{password}@/stylobate?host={socket}&port=5432")
            if password != "pw-3141-first":
                assert wait_until(lambda: "cannot be used yet" in _vault(platform).get("details", ""), SOON)
                await _as_owner(platform, f"alter role app password '{password}'")
            assert wait_until(lambda before=before: taken() > before, SOON)
            assert wait_until(lambda: platform.status().get("status") == "healthy", SOON)
    assert set(answers) == {200}, answers
    assert answers.total() > 20
    shown = platform.command("config", "explain").stdout
    told = shown + platform.log_tails(10_000)
    assert "pw-3141" not in told
    assert "pw-2718" not in told
    assert "vault secret/stylobate/shared#database_url" in shown.replace("\n", "")


def test_logins_go_on_while_vault_is_sealed_and_killed(platform, ada) -> None:
    """Degraded and saying why; unsealed it is well within ten seconds, and so it is after kill -9, when it is started again."""
    answers: Counter[int] = Counter()
    with _load(ada, answers):
        _root(platform).sys.seal()
        assert wait_until(lambda: "is sealed; unseal it" in _vault(platform).get("details", ""), SOON)
        assert platform.status()["status"] == "degraded"
        key = (platform.project.data / "vault" / "unseal_key").read_text()
        _root(platform).sys.submit_unseal_key(key)
        began = time.monotonic()
        platform.wait_healthy(SOON)
        assert time.monotonic() - began < timedelta(seconds=10).total_seconds()

        _put(platform, "auth", access_token_lifetime="10m")  # as it is
        before = platform.kill("vault")
        assert wait_until(lambda: platform.children.get("vault", before).pid != before.pid, SOON)
        assert wait_until(lambda: _is_active(platform), SOON)
        _put(platform, "auth", access_token_lifetime="9m")  # beside what it has kept
        waits = "STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME changed and is taken at the next start"
        assert wait_until(lambda: _vault(platform).get("details", "") == waits, SOON)
        _put(platform, "auth", access_token_lifetime="10m")
        platform.wait_healthy(SOON)
    assert set(answers) == {200}, answers


def _keys(platform: Platform) -> list[str]:
    return [line for line in platform.command("keys", "status").stdout.splitlines() if line.startswith("state/people")]


@pytest.mark.soak
def test_a_key_of_transit_gets_another_version(platform, ada) -> None:
    """Data keys are sealed anew by themselves, the former version may be taken away, and everything can be encrypted anew."""
    keyed = {"Idempotency-Key": "kept"}
    for replayed in (None, "true"):
        put = ada.http.put("/v1/state/people/2", json={"data": {"ssn": "078-05-1120"}}, headers=keyed)
        assert put.is_success
        assert put.headers.get("Idempotency-Replayed") == replayed
    assert any(line.startswith("requests/state ") for line in platform.command("keys", "status").stdout.splitlines())
    transit = _root(platform).secrets.transit
    transit.rotate_key("stylobate")
    log = platform.project.logs / "platform.log"
    assert wait_until(lambda: '"data_keys_resealed"' in log.read_text() and "stylobate:v2" in log.read_text(), SOON)
    transit.update_key_configuration("stylobate", min_decryption_version=2)
    done = platform.command("keys", "reencrypt")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all("another key-encryption key" not in line for line in _keys(platform)), _keys(platform)
    assert ada.http.get("/v1/state/people/2").json()["data"] == {"ssn": "078-05-1120"}


def test_the_key_of_signing_keys_is_exchanged(platform, ada) -> None:
    """The running auth service seals its keys anew, and earlier tokens hold; what cannot be followed waits for a restart."""
    _put(platform, "auth", key_encryption_key="k" * 40)
    taken = '"settings": "STYLOBATE_AUTH_KEY_ENCRYPTION_KEY"'
    log = platform.project.logs / "platform.log"
    assert wait_until(lambda: taken in log.read_text().replace('":"', '": "'), SOON)
    platform.wait_healthy(SOON)
    assert ada.http.get("/v1/auth/me").status_code == 200

    _put(platform, "auth", smtp_password="hush", access_token_lifetime="7m")
    waits = "STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME changed and is taken at the next start"
    assert wait_until(lambda: waits in _vault(platform).get("details", ""), SOON)
    assert "hush" not in platform.log_tails(10_000) + platform.command("config", "explain").stdout
    assert waits in platform.command("status").stdout.replace("\n", " ")


def test_an_operators_key_may_stand_elsewhere(platform, tmp_path) -> None:
    """Where Vault keeps the services' keys, that of the operator is in a folder of theirs: it counts before the project's."""
    generate_service_keys(tmp_path / "keys", key_holders())
    environ = platform._environ | {"STYLOBATE_IDENTITY_FOLDER": str(tmp_path / "keys")}
    said = commands.run("keys", "status", folder=platform.project.folder, environ=environ)
    assert "does not know the key of `cli` there" in said.stderr + said.stdout


def test_modules_are_checked_with_the_vault_that_runs_beside_them(platform, tmp_path) -> None:
    """Their secrets may stand there alone."""
    (tmp_path / "pay").mkdir()
    (tmp_path / "pay" / "module.yaml").write_text("name: pay\nsecrets:\n  gateway_key: What the gateway knows us by\n")
    environ = {"PATH": "/usr/bin:/bin", "STYLOBATE_MODULES": str(tmp_path)}
    missing = commands.run("modules", "check", folder=platform.project.folder, environ=environ)
    assert missing.returncode == 1
    assert "looked at vault secret/stylobate/modules/pay#gateway_key at " in missing.stdout
    _put(platform, "modules/pay", gateway_key="hush")
    found = commands.run("modules", "check", folder=platform.project.folder, environ=environ)
    assert (found.returncode, found.stdout.strip()) == (0, "the modules are fine")


def test_a_value_that_vault_must_have_stops_the_start(tmp_path: Path) -> None:
    """With exit code 2 and one line: what is missing, where, why."""
    (tmp_path / "modules").mkdir()
    secret_id = tmp_path / "secret_id"
    secret_id.write_text("x")
    nobody = f"http://127.0.0.1:{free_ports(1)}"
    environ = {
        "PATH": "/usr/bin:/bin",
        "STYLOBATE_VAULT_ADDRESS": nobody,
        "STYLOBATE_VAULT_ROLE": "stylobate",
        "STYLOBATE_VAULT_CREDENTIALS_FILE": str(secret_id),
        "STYLOBATE_VAULT_REQUIRED": "auth_signing_key",
    }
    for command in (("up",), ("serve", "auth")):
        done = commands.run(*command, folder=tmp_path, environ=environ)
        assert done.returncode == 2
        assert (
            "error: STYLOBATE_AUTH_SIGNING_KEY: STYLOBATE_VAULT_REQUIRED wants it from vault "
            f"secret/stylobate/auth#signing_key at {nobody}: {nobody} does not answer (Connection refused)\n"
        ) in done.stderr


class Relay(Sink):
    """A mail server that lets in who knows its password of the moment."""

    def __init__(self) -> None:
        super().__init__()
        self.password = "first"
        self.recipients: list[str] = []
        self.refused = 0
        self.settings: dict[str, str] = {}
        """By which auth finds it."""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """Take a mail."""
        self.recipients += envelope.rcpt_tos
        return "250 OK"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: LoginPassword) -> AuthResult:
        """Let somebody in, or not."""
        is_right = data.password.decode() == self.password
        self.refused += not is_right
        return AuthResult(success=is_right, handled=False)


def test_the_password_of_the_mail_server_is_exchanged(platform, relay, ada) -> None:
    """A mail that the server refused with the old password is sent with the new one; the next ones with that at once."""
    _put(platform, "auth", smtp_password="first")
    forgot = {"email": ada.email}
    assert ada.http.post("/v1/auth/password/forgot", json=forgot).status_code == 202
    assert wait_until(lambda: relay.recipients == [ada.email], SOON)
    relay.password = "second"
    assert ada.http.post("/v1/auth/password/forgot", json=forgot).status_code == 202
    assert wait_until(lambda: relay.refused > 0, SOON)
    _put(platform, "auth", smtp_password="second")
    assert wait_until(lambda: relay.recipients == [ada.email] * 2, timedelta(seconds=90))
