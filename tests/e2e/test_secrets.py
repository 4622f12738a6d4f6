"""What must be nowhere: addresses, passwords, tokens and keys in logs, in the database and in Valkey; and the trail of it all."""

import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from stylobate.api.auth.v1.session_service_pb2 import ListSessionsRequest
from stylobate.api.auth.v1.session_service_pb2_grpc import SessionServiceStub
from stylobate.testing.platform import Platform
from stylobate.testing.until import until, wait_until

from tests.people import Person, logged_out


async def database(platform: Platform) -> asyncpg.Connection:
    """Return a connection to the platform's database as its owner."""
    lines = (platform.project.data / "postgres" / "cluster" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    return await asyncpg.connect(host=lines[4], port=int(lines[3]), user="stylobate", database="stylobate")


async def _dump(platform: Platform) -> dict[str, str]:
    """Return every table as text."""
    connection = await database(platform)
    try:
        tables = await connection.fetch(
            "select format('%I.%I', table_schema, table_name) as name from information_schema.tables "
            "where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')"
        )
        return {
            name: await connection.fetchval(f"select coalesce(string_agg(t::text, e'\\n'), '') from {name} t")
            for name in (row["name"] for row in tables)
        }
    finally:
        await connection.close()


def _files(*folders: Path) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
            if path.is_file():
                yield path.name, path.read_bytes()


def _places(needle: str, tables: dict[str, str], files: list[tuple[str, bytes]]) -> set[str]:
    """Return where a text stands: as it is, or as bytes are written by the database."""
    raw = needle.encode()
    found = {name for name, text in tables.items() if needle in text or raw.hex() in text}
    return found | {name for name, content in files if raw in content}


async def _mailed(platform: Platform, to: str, subject: str) -> str:
    """Return the token of a mail."""

    def mails() -> list[str]:
        shown = platform.command("mail", "-n", "200").stdout
        return [mail for mail in re.split(r"(?m)^(?=Date: )", shown) if f"To: {to}\n" in mail and f"Subject: {subject}" in mail]

    return re.findall(r"(?m)^[A-Za-z0-9_-]{43}$", (await until(mails))[-1])[0]


async def test_no_secret_stands_anywhere(platform: Platform) -> None:
    """After all that is done with an account: neither its address, which is stored encrypted, nor its name, nor any secret."""
    passwords = [f"known {secrets.token_hex(12)}" for _ in range(3)]
    tokens: dict[str, str] = {}
    with Person(platform.gateway, "known") as ada, logged_out(platform.gateway) as nobody:
        mailbox = ada.email.partition("@")[0]

        def post(path: str, status: int, body: dict[str, Any] | None = None, client: Any = nobody) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == status, (path, answer.text)
            return answer.json() if answer.content else None

        def login(password: str, name: str) -> Any:
            answer = post("/v1/auth/login", 200, {"email": ada.email, "password": password})
            ada.http.headers["authorization"] = f"Bearer {answer['access_token']}"
            tokens.update({f"{name} access": answer["access_token"], f"{name} refresh": answer["refresh_token"]})
            return answer

        post("/v1/auth/register", 201, {"email": ada.email, "password": passwords[0]})
        post("/v1/auth/register", 409, {"email": ada.email.upper(), "password": passwords[0]})
        post("/v1/auth/login", 401, {"email": ada.email, "password": passwords[1]})
        post("/v1/auth/login", 422, {"email": ada.email, "password": [passwords[0]]})
        first = login(passwords[0], "first")
        renewed = post("/v1/auth/refresh", 200, {"refresh_token": first["refresh_token"]})
        tokens |= {"next access": renewed["access_token"], "next refresh": renewed["refresh_token"]}
        post("/v1/auth/password/change", 204, {"current_password": passwords[0], "new_password": passwords[1]}, ada.http)
        key = post("/v1/api-keys", 201, {"name": "k", "scopes": ["*", "owner"]}, ada.http)
        turned = post(f"/v1/api-keys/{key['id']}/rotate", 201, {"overlap_seconds": 0}, ada.http)
        tokens |= {"key": key["key"].rpartition("_")[2], "turned key": turned["key"].rpartition("_")[2]}
        for one in (key, turned):
            assert nobody.get("/v1/limits", headers={"x-api-key": one["key"]}).status_code in {200, 401}
        assert nobody.get("/v1/limits", headers={"x-api-key": turned["key"][:-1] + "!"}).status_code == 401
        assert nobody.get(f"/v1/auth/me?access_token={turned['key']}").status_code in {401, 422}
        ada.order()
        assert (
            ada.http.patch("/v1/auth/me", json={"display_name": "Countess Lovelace"}).json()["display_name"]
            == "Countess Lovelace"
        )
        post("/v1/auth/email/verification", 202, client=ada.http)
        tokens["verify"] = await _mailed(platform, ada.email, "Confirm your address for Stylobate")
        post("/v1/auth/password/forgot", 202, {"email": ada.email})
        tokens["reset"] = await _mailed(platform, ada.email, "Choose a new password for Stylobate")
        post("/v1/auth/password/reset", 204, {"token": tokens["reset"], "new_password": passwords[2]})
        login(passwords[2], "second")
        moved = {"email": f"moved-{ada.email}", "password": passwords[2]}
        post("/v1/auth/email/change", 202, moved, ada.http)
        tokens["change"] = await _mailed(platform, moved["email"], "Confirm your new address for Stylobate")
        post("/v1/auth/email/verify", 204, {"token": tokens["change"]})
        post("/v1/auth/logout", 204, client=ada.http)

    tables = await _dump(platform)
    assert "auth.audit_record" in tables
    folder = platform.project.data
    files = list(_files(folder / "logs", platform.output, folder / "valkey"))
    assert {"platform.log", "up.out"} <= {name for name, _ in files}, "the logs were looked into"
    assert any(b"SELECT" in content for name, content in files if name.endswith(".aof")), "and what Valkey was told"
    assert _places(mailbox, tables, files) == set()
    assert _places("Lovelace", tables, files) == set()
    found = {name: _places(text.rpartition(".")[2], tables, files) for name, text in tokens.items()}
    found |= {f"password {number}": _places(text, tables, files) for number, text in enumerate(passwords)}
    assert {name: places for name, places in found.items() if places} == {}


async def test_a_record_that_was_changed_is_found_by_the_command(platform: Platform) -> None:
    """`stylobate audit verify` ends with 0 before, and with 1 and the name of the service after."""
    connection = await database(platform)
    try:
        with Person(platform.gateway).register() as ada:
            mine = "auth.audit_record r where r.actor = $1"
            left = f"select from {mine} and not exists (select from auth.audit_block where (last_seq, last_id) >= (r.seq, r.id))"
            await until(lambda: connection.fetchval(f"select not exists ({left})", ada.id), within_s=60)
            verified = platform.command("audit", "verify")
            assert verified.returncode == 0, verified.stdout + verified.stderr
            await connection.execute("update auth.audit_record set outcome = 'denied' where actor = $1", ada.id)
            verified = platform.command("audit", "verify")
            assert verified.returncode == 1
            assert re.search(r"^auth  block \d+: one of its \d+ records", verified.stdout, re.MULTILINE), verified.stdout
            await connection.execute("update auth.audit_record set outcome = 'success' where actor = $1", ada.id)
            assert platform.command("audit", "verify").returncode == 0
    finally:
        await connection.close()


async def test_a_key_has_a_limit_of_its_own(platform: Platform) -> None:
    """It counts at every door together, names itself in the refusal, and touches neither its owner nor another key."""
    with Person(platform.gateway).register() as ada, logged_out(platform.gateway) as nobody:
        made = ada.http.post("/v1/api-keys", json={"name": "k", "scopes": ["*"], "rate_limit": "3/day"}).json()
        assert made["rate_limit"] == "3/day"
        other = ada.http.post("/v1/api-keys", json={"name": "k", "scopes": ["*"]}).json()
        assert other["rate_limit"] is None

        def ask(key: str) -> Any:
            return nobody.get("/v1/limits", headers={"x-api-key": key})

        assert '"edge.key";q=3;w=86400' in ask(made["key"]).headers["ratelimit-policy"]
        assert ask(made["key"]).status_code == 200
        with grpc.insecure_channel(platform.grpc["auth"]) as channel:
            codes = []
            bearer = [("authorization", f"Bearer {made['key']}")]
            for _ in range(2):
                with pytest.raises(grpc.RpcError) as refused:
                    SessionServiceStub(channel).ListSessions(ListSessionsRequest(), metadata=bearer, timeout=10)
                codes.append(refused.value.code())
        assert codes == [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.RESOURCE_EXHAUSTED], "keys manage no sessions"
        answer = ask(made["key"])
        assert (answer.status_code, "edge.key" in answer.text) == (429, True), answer.text
        assert ask(other["key"]).status_code == ada.http.get("/v1/auth/me").status_code == 200
        assert platform.command("limits", "usage", "edge.key", made["id"]).stdout.startswith(
            "0 left of 3 per day; full again in "
        )
        assert platform.command("limits", "reset", "edge.key", made["id"]).returncode == 0
        assert ask(made["key"]).headers["ratelimit"].startswith('"edge.key";r=2')
        for key, word in ((other["id"], "no limit of its own"), (ada.id, "no such API key")):
            assert word in platform.command("limits", "usage", "edge.key", key).stderr
        changed = ada.http.patch(f"/v1/api-keys/{made['id']}", json={"rate_limit": "20/day"})
        assert (changed.status_code, changed.json()["rate_limit"]) == (200, "20/day"), changed.text
        assert wait_until(lambda: '"edge.key";q=20;' in ask(made["key"]).headers["ratelimit-policy"], timedelta(seconds=10))
        assert "limit 30/day" in platform.command("keys", "limit", made["id"], "30/day").stdout
        assert wait_until(lambda: '"edge.key";q=30;' in ask(made["key"]).headers["ratelimit-policy"], timedelta(seconds=10))
        assert ada.http.patch(f"/v1/api-keys/{made['id']}", json={"rate_limit": "3/day"}).status_code == 200
        turned = ada.http.post(f"/v1/api-keys/{made['id']}/rotate", json={"overlap_seconds": 0}).json()
        assert turned["rate_limit"] == "3/day"
        refused_key = ada.http.post("/v1/api-keys", json={"name": "k", "rate_limit": "many"})
        assert (refused_key.status_code, "/rate_limit" in refused_key.text) == (422, True), refused_key.text
