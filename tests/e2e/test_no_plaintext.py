"""An address and an encrypted field, after all that is done with them: in no dump, event, backup, log, record or key."""

import gzip
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from stylobate.launcher.embedded import EmbeddedPostgres, postgres
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.e2e.test_secrets import database
from tests.people import PASSWORD, Person

MODULE = {
    "module.yaml": "name: desk\n",
    "states.yaml": """\
        namespaces:
          people:
            schema:
              type: object
              properties: { ssn: { type: string, pattern: "^[0-9-]+$" }, name: { type: string } }
            initial: open
            access: { read: owner, list: owner, create: authenticated, write: owner, delete: owner }
            events: { data: [before, delta] }
            transitions: { close: { from: [open], to: closed, data: [ssn] } }
            before: { created: check, updated: check }
            encrypted_fields: [ssn]
          drafts:
            access: { read: owner, create: authenticated, write: owner }
            durability: ephemeral
            ttl: 1h
            encrypted_fields: [ssn]
          cards:
            access: { read: owner }
            encrypted_fields: [ssn]
        projections:
          cards: { from: people, method: card }
        """,
    "actions.yaml": """\
        actions:
          desk.tell: { handler: tell, access: authenticated }
        """,
    "module.py": '''\
        """What reads and answers an encrypted field."""

        from typing import Any

        from stylobate.modules import ActionContext, BaseModule, Event, HookContext, RefusedError, View, on


        class Desk(BaseModule):
            async def check(self, ctx: Any, change: Any) -> None:
                if change.value()["data"].get("name") == "refused":
                    raise RefusedError("NO_SUCH_NAME")

            async def tell(self, ctx: ActionContext, wanted: dict[str, Any]) -> Any:
                found = await ctx.state.get("people", wanted["key"])
                await ctx.state.put("people", ctx.new_id(), {"ssn": wanted["ssn"]})
                return {"ssn": found.data["ssn"]}

            @on("state.people.*")
            async def heard(self, ctx: HookContext, event: Event) -> None:
                await ctx.state.get("people", event.subject)
                if event.value()["data"] and event.value()["data"].get("name") == "dead":
                    raise ValueError("cannot be dealt with")

            async def card(self, view: View, event: Event) -> None:
                await view.put(event.subject, {"ssn": event.value()["data"]["ssn"]}, owner=event.actor)
        ''',
}
SSNS = [f"078-05-{number}" for number in range(1120, 1128)]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """Run a platform with a module that does everything with an encrypted field."""
    (folder := tmp_path / "modules" / "desk").mkdir(parents=True)
    for name, text in MODULE.items():
        (folder / name).write_text(dedent(text), encoding="utf-8")
    with Platform.run(tmp_path, environ={"STYLOBATE_LOG_LEVEL": "debug"}) as running:
        yield running


def use(platform: Platform, ada: Person) -> None:
    """Do what can be done with the fields, well and badly."""

    def ask(method: str, path: str, status: int, body: Any, key: str = "") -> Any:
        keyed = {"idempotency-key": key} if key else {}
        answer = ada.http.request(method, path, json=body, headers=keyed)
        assert answer.status_code == status, (path, answer.text)
        return answer.json() if answer.content else None

    ada.http.patch("/v1/auth/me", json={"display_name": "Countess Lovelace"})
    for _ in range(2):
        ask("PUT", "/v1/state/people/1", 200, {"data": {"ssn": SSNS[0], "name": "Ada"}}, key="k-put")
    ask("PUT", "/v1/state/people/1", 422, {"data": {"ssn": SSNS[0] + "x"}})
    ask("PUT", "/v1/state/people/1", 422, {"data": {"ssn": SSNS[0]}}, key="k-put")
    ask("PUT", "/v1/state/people/r", 409, {"data": {"ssn": SSNS[7], "name": "refused"}})
    ask("PATCH", "/v1/state/people/1", 200, {"ssn": SSNS[1]}, key="k-patch")
    ask("POST", "/v1/state/people/1/transitions/close", 200, {"data": {"ssn": SSNS[2]}})
    written = [{"op": "put", "namespace": "people", "key": "2", "data": {"ssn": SSNS[3], "name": "dead"}}]
    ask("POST", "/v1/state/transactions", 200, {"operations": written}, key="k-transact")
    ask("PUT", "/v1/state/drafts/1", 200, {"data": {"ssn": SSNS[4]}}, key="k-draft")
    for _ in range(2):
        assert ask("POST", "/v1/actions/desk.tell", 200, {"key": "1", "ssn": SSNS[5]}, key="k-act")["ssn"] == SSNS[2]
    ask("POST", "/v1/actions/desk.tell", 500, {"key": "none", "ssn": SSNS[6]}, key="k-none")
    history = ada.http.get("/v1/state/people/1/history").json()["items"]
    assert [entry["data"]["ssn"] for entry in history] == SSNS[2::-1]
    assert ada.http.get("/v1/state/people", params={"ssn": SSNS[0]}).status_code >= 400
    with Person(platform.gateway, "root") as root:
        made = platform.command("users", "create", root.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        root.login()
        assert [one["id"] for one in root.http.get("/v1/users", params={"email": ada.email}).json()["items"]] == [ada.id]
        assert root.http.post("/v1/auth/register", json={"email": ada.email.upper(), "password": PASSWORD}).status_code == 409
        assert root.http.post("/v1/auth/login", json={"email": ada.email, "password": "wrong password"}).status_code == 401


def kept(platform: Platform, backup: Path) -> dict[str, bytes]:
    """Return all that is kept anywhere, by what it is."""
    server = EmbeddedPostgres(platform.project.data / "postgres", platform.project.run)
    dump = subprocess.run([postgres.programs() / "pg_dump", server.url], check=True, capture_output=True).stdout
    taken = platform.command("backup", str(backup))
    assert taken.returncode == 0, taken.stderr
    found = {"pg_dump": dump, "backup said": (taken.stdout + taken.stderr).encode()}
    found |= {f"backup {file.name}": _opened(file) for file in backup.iterdir()}
    for name in ("logs", "valkey"):
        found |= {
            str(file.relative_to(platform.project.data)): file.read_bytes() for file in _files(platform.project.data / name)
        }
    found["up.out"] = platform.output.read_bytes()
    for command in (("logs", "-n", "100000"), ("audit", "list"), ("events", "dead", "list"), ("keys", "status"), ("status",)):
        done = platform.command(*command)
        found[" ".join(command)] = (done.stdout + done.stderr).encode()
    return found


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def _opened(file: Path) -> bytes:
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()


async def test_nothing_that_is_encrypted_stands_anywhere(platform: Platform, tmp_path: Path) -> None:
    """Searched as text, as hexadecimal digits and as the database writes octets, in what is kept and in what commands print."""
    connection = await database(platform)
    try:
        with Person(platform.gateway, f"known-{uuid.uuid4()}") as ada:
            ada.register()
            use(platform, ada)
            await until(lambda: connection.fetchval("select exists (select from actions.hook_dead_letter)"), within_s=60)
            await until(lambda: ada.http.get("/v1/state/cards/1").json().get("version", 0) >= 3)
            everything = kept(platform, tmp_path / "backup")
            mailbox = ada.email.partition("@")[0]
    finally:
        await connection.close()
    assert b"sealed.1." in everything["pg_dump"]
    assert b"sealed.1." in b"".join(text for name, text in everything.items() if name.endswith(".aof"))
    assert b"sealed.1." in everything["backup state.outbox_event.copy.gz"]
    found = {
        (needle, name)
        for needle in (mailbox, "Lovelace", *SSNS)
        for name, text in everything.items()
        if needle.encode() in text or needle.encode().hex().encode() in text
    }
    assert found == set()
