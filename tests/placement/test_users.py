"""What an administrator does to somebody's account, over HTTP and with the command."""

from collections.abc import Iterator

import httpx
import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.people import PASSWORD, Person, logged_out


@pytest.fixture(scope="module")
def root(platform: Platform) -> Iterator[Person]:
    """Give an administrator."""
    with Person(platform.gateway, "root") as root:
        made = platform.command("users", "create", root.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stdout + made.stderr
        yield root.login()


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_disabled_account_is_out_everywhere(platform: Platform, root: Person) -> None:
    """Its session and its key, at the gateway and behind it; enabled, it logs in again and nothing else comes back."""
    with Person(platform.gateway).register() as ada, logged_out(platform.gateway) as nobody:
        made = ada.http.post("/v1/api-keys", json={"name": "k", "scopes": ["*", "owner"]}).json()
        key = {"x-api-key": made["key"]}
        assert nobody.get("/v1/limits", headers=key).status_code == 200
        (found,) = root.http.get("/v1/users", params={"email": ada.email.upper()}).json()["items"]
        assert (found["id"], found["status"], found["disabled_at"]) == (ada.id, "active", None)
        assert root.http.get(f"/v1/users/{ada.id}/sessions").json()["items"][0]["current"] is False
        assert _code(ada.http.post(f"/v1/users/{ada.id}/disable")) == (403, "PERMISSION_DENIED")

        assert root.http.post(f"/v1/users/{ada.id}/disable").status_code == 204
        login = {"email": ada.email, "password": PASSWORD}
        assert _code(nobody.post("/v1/auth/login", json=login)) == (403, "AUTH_ACCOUNT_DISABLED")
        assert _code(nobody.post("/v1/auth/refresh", json={"refresh_token": ada.refresh_token})) == (401, "AUTH_REFRESH_INVALID")
        await until(lambda: ada.act("shop.place_order", {}).status_code == 401)
        await until(lambda: nobody.get("/v1/limits", headers=key).status_code == 401)
        assert root.http.get(f"/v1/users/{ada.id}").json()["status"] == "disabled"

        enabled = platform.command("users", "enable", ada.id)
        assert (enabled.returncode, enabled.stdout) == (0, "enabled\n"), enabled.stderr
        assert ada.http.get("/v1/auth/me").status_code == nobody.get("/v1/limits", headers=key).status_code == 401
        assert ada.login().http.get("/v1/auth/me").status_code == 200
        assert root.http.delete(f"/v1/users/{ada.id}/sessions").status_code == 204
        await until(lambda: ada.act("shop.place_order", {}).status_code == 401)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/users/01920c6e-7b1a-7c3e-8f2d-1a2b3c4d5e6f", 404, "AUTH_ACCOUNT_UNKNOWN"),
        ("/v1/users/x/sessions", 404, "AUTH_ACCOUNT_UNKNOWN"),
        ("/v1/users?email=nobody", 422, "AUTH_INVALID_INPUT"),
        ("/v1/users?created_after=yesterday", 422, "INVALID_INPUT"),
        ("/v1/users?page_token=WyJzZXNzaW9ucyIsIngiXQ", 422, "INVALID_INPUT"),
    ],
)
def test_what_makes_no_sense_is_said(root: Person, path: str, status: int, code: str) -> None:
    """With a typed answer."""
    assert _code(root.http.get(path)) == (status, code)


def test_the_command_shows_accounts(platform: Platform, root: Person) -> None:
    """Found by address, shown, its sessions listed and ended; an unknown one is an error."""
    with Person(platform.gateway, "cli").register() as somebody:
        listed = platform.command("users", "list", "--email", somebody.email).stdout
        assert listed == f"{somebody.id}  {somebody.email}  user  active\n"
        assert f"email    {somebody.email} (not proven)\n" in platform.command("users", "show", somebody.id).stdout
        assert "  seen " in platform.command("users", "sessions", somebody.id).stdout
        assert platform.command("users", "sign-out", somebody.id).stdout == "signed out\n"
        assert platform.command("users", "sessions", somebody.id).stdout == "no sessions\n"
        assert platform.command("users", "disable", "x").returncode != 0
