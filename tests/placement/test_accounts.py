"""What an owner does to an account, over HTTP: password, address and name, with the mails that it takes."""

import re

import httpx
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.people import PASSWORD, Person, logged_out

NEW = "another horse and battery"
OTHER = "a third horse, and a cart"


def _mails(platform: Platform, to: str) -> list[str]:
    """Return the mails to an address that `stylobate mail` shows, the newest at the end."""
    shown = platform.command("mail", "-n", "200").stdout
    return [mail for mail in re.split(r"(?m)^(?=Date: )", shown) if f"To: {to}\n" in mail]


async def _token(platform: Platform, to: str, subject: str) -> str:
    mails = await until(lambda: [mail for mail in _mails(platform, to) if f"Subject: {subject}" in mail])
    return re.findall(r"(?m)^[A-Za-z0-9_-]{43}$", mails[-1])[0]


def _code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_an_owner_changes_everything_of_an_account(platform: Platform) -> None:
    """Name, password, address; each at once in force, with the refusals that go with it."""
    with Person(platform.gateway).register() as ada, logged_out(platform.gateway) as nobody:
        assert ada.http.patch("/v1/auth/me", json={"display_name": "Ada"}).json()["display_name"] == "Ada"
        assert _code(nobody.patch("/v1/auth/me", json={"display_name": "Eve"})) == (401, "UNAUTHENTICATED")

        change = {"current_password": PASSWORD, "new_password": NEW}
        assert _code(ada.http.post("/v1/auth/password/change", json=change | {"current_password": "x"})) == (
            403,
            "AUTH_PASSWORD_WRONG",
        )
        assert _code(ada.http.post("/v1/auth/password/change", json=change | {"new_password": "iloveyou"})) == (
            422,
            "AUTH_INVALID_INPUT",
        )
        assert ada.http.post("/v1/auth/password/change", json=change).status_code == 204
        await until(lambda: [mail for mail in _mails(platform, ada.email) if "was changed" in mail])

        assert ada.http.post("/v1/auth/email/verification").status_code == 202
        token = await _token(platform, ada.email, "Confirm your address for Stylobate")
        assert nobody.post("/v1/auth/email/verify", json={"token": token}).status_code == 204
        assert _code(nobody.post("/v1/auth/email/verify", json={"token": token})) == (422, "AUTH_MAIL_TOKEN_INVALID")
        assert ada.http.get("/v1/auth/me").json()["email_verified"] is True

        moved = f"moved-{ada.email}"
        assert ada.http.post("/v1/auth/email/change", json={"email": moved, "password": NEW}).status_code == 202
        token = await _token(platform, moved, "Confirm your new address for Stylobate")
        assert nobody.post("/v1/auth/email/verify", json={"token": token}).status_code == 204
        assert ada.http.get("/v1/auth/me").json()["email"] == moved
        assert nobody.post("/v1/auth/login", json={"email": moved, "password": NEW}).status_code == 200


async def test_an_owner_sees_and_ends_sessions(platform: Platform) -> None:
    """With where they are used from; one, then all others; each is out everywhere soon, the one that asks never."""
    with Person(platform.gateway).register() as ada:
        others = []
        for agent in ("phone", "laptop/1.0 (X11; Linux x86_64)", "library"):
            login = {"email": ada.email, "password": PASSWORD}
            answer = ada.http.post("/v1/auth/login", json=login, headers={"user-agent": agent})
            others.append(answer.json()["access_token"])
        listed = ada.http.get("/v1/auth/sessions").json()["items"]
        assert [(item["device"], item["current"]) for item in listed[:3]] == [
            ("library", False), ("laptop on Linux", False), ("phone", False),
        ]  # fmt: skip
        assert listed[1]["agent"] == "laptop/1.0 (X11; Linux x86_64)"
        assert [item["current"] for item in listed] == [False, False, False, True]
        assert {item["address"] for item in listed} == {"127.0.0.1"}
        page = ada.http.get("/v1/auth/sessions", params={"page_size": 3}).json()
        rest = ada.http.get("/v1/auth/sessions", params={"page_token": page["next_page_token"]}).json()
        assert [*page["items"], *rest["items"]] == listed

        def status(token: str) -> int:
            return ada.http.get("/v1/auth/me", headers={"authorization": f"Bearer {token}"}).status_code

        assert ada.http.delete(f"/v1/auth/sessions/{listed[0]['id']}").status_code == 204
        await until(lambda: status(others[2]) == 401)
        assert [status(token) for token in others[:2]] == [200, 200]
        assert _code(ada.http.delete(f"/v1/auth/sessions/{listed[0]['id']}")) == (404, "AUTH_SESSION_NOT_FOUND")
        assert ada.http.delete("/v1/auth/sessions").status_code == 204
        await until(lambda: [status(token) for token in others] == [401] * 3)
        assert [item["current"] for item in ada.http.get("/v1/auth/sessions").json()["items"]] == [True]


async def test_a_forgotten_password_is_replaced_by_mail(platform: Platform) -> None:
    """With the same answer for who has no account; every session of the account ends."""
    with Person(platform.gateway).register() as ada, logged_out(platform.gateway) as nobody:
        answers = [nobody.post("/v1/auth/password/forgot", json={"email": email}) for email in (ada.email, f"no-{ada.email}")]
        assert [(answer.status_code, answer.content) for answer in answers] == [(202, b"")] * 2
        reset = {"token": await _token(platform, ada.email, "Choose a new password for Stylobate"), "new_password": OTHER}
        assert _code(nobody.post("/v1/auth/password/reset", json=reset | {"token": "made up"})) == (
            422,
            "AUTH_MAIL_TOKEN_INVALID",
        )
        again = [nobody.post("/v1/auth/password/reset", json=reset, headers={"idempotency-key": "reset"}) for _ in range(2)]
        assert [(answer.status_code, answer.headers.get("idempotency-replayed")) for answer in again] == [
            (204, None),
            (204, "true"),
        ]
        await until(lambda: ada.http.get("/v1/auth/me").status_code == 401)
        assert nobody.post("/v1/auth/login", json={"email": ada.email, "password": OTHER}).status_code == 200
        assert _mails(platform, f"no-{ada.email}") == []
