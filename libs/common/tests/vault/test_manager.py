"""Vault while a process runs: logins that end, servers that go away and are sealed, values that change and vanish."""

import asyncio
from datetime import timedelta

import hvac
import pytest
from aiohttp import web
from stylobate.health import Status
from stylobate.testing.clock import FakeClock
from stylobate.testing.until import until
from stylobate.vault import VaultError
from stylobate.vault.client import VaultClient
from stylobate.vault.manager import VaultManager

_OFTEN = {"refresh": timedelta(milliseconds=200)}


async def _healthy(manager) -> bool:
    return (await manager.health()).status is Status.HEALTHY


async def test_a_changed_value_is_heard(vault) -> None:
    """Who asked to hear is called once the value is another one, and finds it there; nobody is called for the same value."""
    vault.put("heard/auth", smtp_password="old", smtp_user="ada")
    manager = VaultManager(vault.options("heard", **_OFTEN))
    assert manager.secrets.find("auth", "smtp_password") == "old"
    heard = []

    async def hear() -> str:
        heard.append(manager.secrets.find("auth", "smtp_password"))
        return ""

    manager.on_change(hear)
    async with manager.open():
        vault.put("heard/auth", smtp_password="new", smtp_user="ada")
        await until(lambda: heard)
        age = manager.age_s
        await until(lambda: manager.age_s < age)  # looked again, at what is the same
    assert heard == ["new"]


async def test_what_was_not_taken_is_told_and_tried_again(vault) -> None:
    """A hearer that cannot use a value yet is called again at each look, and health says what it said."""
    vault.put("later/auth", smtp_password="old")
    manager = VaultManager(vault.options("later", **_OFTEN))
    manager.secrets.find("auth", "smtp_password")
    answers = ["it is refused there", ""]

    async def hear() -> str:
        return answers.pop(0)

    manager.on_change(hear)
    async with manager.open():
        vault.put("later/auth", smtp_password="new")
        await until(manager.health, lambda health: health.details == "it is refused there")
        await until(lambda: _healthy(manager))
    assert answers == []


async def test_a_change_is_heard_though_another_path_is_refused(vault) -> None:
    """A policy that leaves one path out holds up nothing else."""
    vault.put("partly/auth", smtp_password="old")
    manager = VaultManager(vault.options("partly", **_OFTEN))
    manager.secrets.find("auth", "smtp_password")
    manager.secrets.find("../../elsewhere", "x")
    heard = []

    async def hear() -> str:
        heard.append(manager.secrets.find("auth", "smtp_password"))
        return ""

    manager.on_change(hear)
    async with manager.open():
        await until(manager.health, lambda health: "permission denied" in health.details)
        vault.put("partly/auth", smtp_password="new")
        await until(lambda: heard)
    assert heard == ["new"]


async def test_what_waits_is_not_tried_while_vault_is_sealed(vault) -> None:
    """What the outage has to do with it nobody could tell from what is said then."""
    vault.put("waits/auth", smtp_password="old")
    manager = VaultManager(vault.options("waits", **_OFTEN))
    manager.secrets.find("auth", "smtp_password")
    heard = []

    async def hear() -> str:
        heard.append(manager.secrets.problem)
        return "it is refused there"

    manager.on_change(hear)
    async with manager.open():
        vault.put("waits/auth", smtp_password="new")
        await until(lambda: heard)
        vault.seal()
        try:
            await until(manager.health, lambda health: "is sealed" in health.details)
            told, asked = len(heard), manager.age_s
            await until(lambda: manager.age_s > asked + 1.5)  # two more tries
            assert len(heard) == told
        finally:
            vault.unseal()
        await until(lambda: len(heard) > told)
    assert not any(heard)


async def test_what_is_known_is_used_while_vault_is_sealed(vault) -> None:
    """Values stay, health says that they are old and why; once it is unsealed the next look makes it well."""
    vault.put("sealed/auth", smtp_password="kept")
    manager = VaultManager(vault.options("sealed", **_OFTEN))
    assert manager.secrets.find("auth", "smtp_password") == "kept"
    async with manager.open():
        vault.seal()
        health = await until(manager.health, lambda health: health.status is Status.DEGRADED)
        assert health.details.startswith(f"{vault.url} is sealed; unseal it; values are ")
        assert manager.secrets.find("auth", "smtp_password") == "kept"
        vault.unseal()
        await until(lambda: _healthy(manager), within_s=10)


async def test_a_start_without_vault_is_made_good_by_its_return(vault) -> None:
    """What nobody had to have is read as soon as Vault answers, and who runs is told."""
    vault.put("late/auth", smtp_password="there")
    vault.seal()
    manager = VaultManager(vault.options("late", **_OFTEN))
    assert manager.secrets.find("auth", "smtp_password") is None
    heard = []

    async def hear() -> str:
        heard.append(manager.secrets.find("auth", "smtp_password"))
        return ""

    manager.on_change(hear)
    async with manager.open():
        assert not await _healthy(manager)
        vault.unseal()
        await until(lambda: heard == ["there"])


async def test_a_value_that_is_gone_is_used_on(vault) -> None:
    """A key that was deleted, by mistake or not, has nobody fall back to a default; health names it until it is back."""
    vault.put("gone/auth", smtp_password="kept", smtp_user="ada")
    manager = VaultManager(vault.options("gone", **_OFTEN))
    manager.secrets.find("auth", "smtp_password")
    async with manager.open():
        vault.put("gone/auth", smtp_user="ada")
        health = await until(manager.health, lambda health: health.status is Status.DEGRADED)
        assert health.details == "secret/stylobate/gone/auth#smtp_password is gone; its last known value is used"
        assert manager.secrets.find("auth", "smtp_password") == "kept"
        vault.put("gone/auth", smtp_password="back", smtp_user="ada")
        await until(lambda: _healthy(manager))
        assert manager.secrets.find("auth", "smtp_password") == "back"


async def test_a_login_that_was_taken_away_is_made_anew(vault) -> None:
    """With the same proof, within the call that met it: nobody notices."""
    vault.put("revoked/auth", smtp_password="there")
    client = VaultClient(vault.options("revoked"))
    assert client.secret("auth") == {"smtp_password": "there"}
    vault.end_logins()
    assert client.secret("auth") == {"smtp_password": "there"}


def test_a_login_is_renewed_in_time_and_made_anew_at_its_end(vault) -> None:
    """After half of its time, on the clock of this process; where renewing brings nothing more, another login is made."""
    clock = FakeClock()
    client = VaultClient(vault.options("renewed"), clock.seconds)
    client.keep_login()
    assert client.token_left_s == pytest.approx(3600)
    clock.advance(timedelta(minutes=29))
    client.keep_login()
    assert client.token_left_s == pytest.approx(1860)  # left alone
    clock.advance(timedelta(minutes=2))
    client.keep_login()
    assert client.token_left_s == pytest.approx(3600)
    clock.advance(timedelta(minutes=61))  # the process slept
    assert client.token_left_s == 0
    assert client.secret("nothing") is None
    assert client.token_left_s == pytest.approx(3600)


def test_a_login_whose_renewal_is_not_found_is_made_anew(vault, monkeypatch) -> None:
    """A proxy may answer so in the place of Vault; it is a refusal like others."""
    clock = FakeClock()
    client = VaultClient(vault.options("renewed"), clock.seconds)
    client.keep_login()

    def not_found() -> None:
        raise hvac.exceptions.InvalidPath

    monkeypatch.setattr(client._hvac.auth.token, "renew_self", not_found)
    clock.advance(timedelta(minutes=31))
    client.keep_login()
    assert client.token_left_s == pytest.approx(3600)


def test_a_refused_login_is_not_tried_again_and_again(vault, tmp_path) -> None:
    """Vault locks a role out after five refusals: the same proof is tried once in five minutes, another one at once."""
    clock = FakeClock()
    file = tmp_path / "secret_id"
    file.write_text("wrong")
    client = VaultClient(vault.options("lockout", credentials=file), clock.seconds)
    for _ in range(20):
        with pytest.raises(VaultError, match=r"auth/approle/login: does not let us in \(invalid role or secret ID\)"):
            client.secret("auth")
    assert VaultClient(vault.options("lockout")).secret("auth") is None  # the role is not locked
    file.write_text(vault.options("").credentials.read_text())
    assert client.secret("auth") is None


def test_a_token_is_taken_as_it_is(vault, tmp_path) -> None:
    """A token in a file is looked up; one that was revoked, or is none, is named by its file."""
    file = tmp_path / "token"
    with vault.root() as root:
        file.write_text(root.auth.token.create(policies=["stylobate"], ttl="1h")["auth"]["client_token"])
    vault.put("token/auth", smtp_password="there")
    client = VaultClient(vault.options("token", auth="token", credentials=file))
    assert client.secret("auth") == {"smtp_password": "there"}
    with vault.root() as root:
        root.auth.token.revoke(file.read_text())
    with pytest.raises(VaultError, match=f"the token in {file} was revoked or has ended; write another"):
        client.secret("auth")


async def test_nobody_is_followed_elsewhere(vault) -> None:
    """What answers in place of Vault with another address gets no token there, nor does whoever is at that address."""
    asked = []

    async def elsewhere(request: web.Request) -> web.Response:
        asked.append(request.path)
        raise web.HTTPTemporaryRedirect(f"{vault.url}{request.path}")

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", elsewhere)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = VaultClient(vault.options("redirected", address=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    with pytest.raises(VaultError, match="sends us elsewhere, which is not followed, for the token would go along"):
        await asyncio.to_thread(client.secret, "auth")
    assert asked == ["/v1/auth/approle/login"]
    await runner.cleanup()
