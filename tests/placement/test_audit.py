"""Who did what is read over HTTP and with the command, out of every service that keeps records."""

import json
from datetime import timedelta
from typing import Any

from stylobate.launcher.commands.audit import done_by
from stylobate.services import audited
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until
from stylobate_gateway.routes.audit import AUDITED

from tests.people import PASSWORD, Person

WITHIN = timedelta(seconds=10)


def pages(watcher: Person, **asked: Any) -> list[dict[str, Any]]:
    """Return all records that fit, page by page."""
    found, token = list[dict[str, Any]](), ""
    while True:
        query = asked | ({"page_token": token} if token else {})
        answer = watcher.http.get("/v1/audit", params=query)
        assert answer.status_code == 200, answer.text
        found += answer.json()["items"]
        token = answer.json()["next_page_token"] or ""
        if not token:
            return found


def test_the_gateway_asks_every_service_that_keeps_records() -> None:
    """A service that begins to keep records is one that `GET /v1/audit` must ask."""
    assert sorted(audited()) == list(AUDITED)


def test_what_a_person_did_is_one_list(platform: Platform) -> None:
    """Records of accounts and of actions stand together, the latest first, whatever the size of the pages."""
    with Person(platform.gateway, "ada") as ada, Person(platform.gateway, "watcher") as watcher:
        made = platform.command("users", "create", watcher.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        watcher.login()
        ada.register().order()
        assert ada.http.post("/v1/auth/login", json={"email": ada.email, "password": "not the password"}).status_code == 401
        assert ada.act("shop.place_order", {"items": []}).status_code == 422
        done = [
            ("actions", "shop.place_order", "failure"),
            ("actions", "shop.place_order", "success"),
            ("auth", "auth.login", "success"),
            ("auth", "auth.register", "success"),
        ]

        def told() -> list[tuple[str, str, str]]:
            return [(one["service"], one["action"], one["outcome"]) for one in pages(watcher, actor=ada.id)]

        assert wait_until(lambda: len(told()) >= len(done), WITHIN)
        assert told() == done
        whole = pages(watcher, actor=ada.id)
        assert pages(watcher, actor=ada.id, page_size=1) == whole
        assert [one["time"] for one in whole] == sorted((one["time"] for one in whole), reverse=True)
        typed = {"target": f"user:{ada.id}", "service": "auth", "action": "auth.*", "outcome": "denied"}
        assert wait_until(lambda: bool(pages(watcher, **typed)), WITHIN)
        (refused_login,) = pages(watcher, **typed)
        assert refused_login["actor"] is None, "who typed it is not known"
        assert pages(watcher, actor=ada.id, until="2026-01-01T00:00:00Z") == []
        assert ada.email not in json.dumps(whole)

        refused = ada.http.get("/v1/audit")
        command = f"stylobate users roles add {ada.id} admin"
        assert (refused.status_code, refused.json()["metadata"]) == (403, {"permission": "audit:read", "command": command})
        assert ada.http.get("/v1/audit", headers={"authorization": ""}).status_code == 401
        for query in ("action=a*b", "outcome=maybe", "since=yesterday", "page_token=eA", "service=state", "who=ada"):
            assert watcher.http.get(f"/v1/audit?{query}").status_code == 422, query

        exported = platform.command("audit", "export", "--actor", ada.id)
        assert exported.returncode == 0, exported.stderr
        assert [json.loads(line)["id"] for line in exported.stdout.splitlines()] == [one["id"] for one in whole]
        listed = platform.command("audit", "list", "--actor", ada.id, "--since", "1h", "--lines", "2")
        assert listed.stdout.splitlines()[0].endswith(f"shop.place_order  failure ACTION_INPUT_INVALID  {ada.id} via gateway"), (
            listed.stdout
        )
        assert len(listed.stdout.splitlines()) == 2
        verified = platform.command("audit", "verify")
        assert (verified.returncode, verified.stderr) == (0, ""), verified
        assert [line.split()[0] for line in verified.stdout.splitlines()] == list(audited())
        for wrong in (("--outcome", "maybe"), ("--since", "yesterday"), ("--service", "state"), ("--action", "a*b")):
            refused = platform.command("audit", "list", *wrong)
            assert refused.returncode != 0
            assert "Traceback" not in refused.stderr


def test_who_did_it_is_said_of_what_the_platform_does_by_itself():
    """An automatic ban is done by the rule that asks for it; a record without either names nobody."""
    ban = {"actor": "", "detail": {"rule": "edge_user"}}
    assert done_by(ban) == "rule edge_user"
    assert done_by(ban | {"actor": "ann"}) == "ann"
    assert done_by({"actor": "", "detail": {}}) == "nobody"
