"""Namespaces in a database of their own: everything of them is there, and its outage is theirs alone."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from httpx import Client
from stylobate.testing import commands
from stylobate.testing.platform import Platform, PlatformFailedError
from stylobate.testing.until import wait_until

from tests.apart.conftest import Archive
from tests.conftest import ROOT, SHOP
from tests.people import PASSWORD, Person
from tests.witness import MODULE, Witness

TALLY = ROOT / "tests" / "modules" / "tally"
WITHIN = timedelta(seconds=60)
"""What stands apart: the shop's orders, and a projection of entries that are in the main database."""


@pytest.fixture(scope="module")
def witness(tmp_path_factory: pytest.TempPathFactory) -> Witness:
    """Give what reads which events reached a hook."""
    return Witness(tmp_path_factory.mktemp("witness") / "witnessed.jsonl")


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, archive: Archive, witness: Witness) -> Iterator[Platform]:
    """Give the platform."""
    environ = {
        "STYLOBATE_STATE_DATABASES": f"archive={archive.url}",
        "STYLOBATE_STATE_PLACES": "orders=archive balances=archive",
    }
    with Platform.run(
        tmp_path_factory.mktemp("apart"), modules=[SHOP, TALLY, MODULE], environ=witness.environ | environ
    ) as running:
        yield running


@pytest.fixture(scope="module")
def ada(platform: Platform) -> Iterator[Person]:
    """Give a customer."""
    with Person(platform.gateway) as person:
        yield person.register()


@pytest.fixture(scope="module")
def admin(platform: Platform) -> Iterator[Person]:
    """Give somebody who may read every order."""
    with Person(platform.gateway, "admin") as person:
        made = platform.command("users", "create", person.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield person.login()


def test_everything_of_a_namespace_is_in_its_database(
    platform: Platform, archive: Archive, ada: Person, admin: Person, witness: Witness
) -> None:
    """Created by a handler, moved, read, listed by an index, looked back at, heard by a hook: and its rows are there alone."""
    order = ada.order()
    assert ada.http.post(f"/v1/state/orders/{order}/transitions/pay").status_code == 200
    found = ada.http.get(f"/v1/state/orders/{order}").json()
    assert (found["status"], found["version"]) == ("paid", 2)
    listed = admin.http.get("/v1/state/orders", params={"filter[status]": "paid", "sort": "-total"})
    assert [item["key"] for item in listed.json()["items"]] == [order], listed.text
    history = ada.http.get(f"/v1/state/orders/{order}/history").json()["items"]
    assert [entry["version"] for entry in history] == [2, 1]
    assert witness.saw_all({(order, ""), (order, "pay")}, WITHIN)
    assert archive.ask("select count(*) from state.state where namespace = 'orders'") == 1
    assert archive.ask("select count(*) from state.outbox_event where stream = 'orders' and number is not null") == 2
    assert archive.ask("select count(*) from state.state_entry") > 0
    listing = platform.command("hooks", "list")
    assert "state@archive" in listing.stdout, listing.stdout + listing.stderr


def test_a_backup_has_every_database(platform: Platform, archive: Archive, ada: Person, tmp_path: Path) -> None:
    """Each is put where the settings name it; one that they do not name is asked for, and nothing is written then."""
    order, backup = ada.order(), str(tmp_path / "backup")
    assert platform.command("backup", backup).returncode == 0
    main, apart = archive.further("main_again"), archive.further("apart_again")
    environ = {"STYLOBATE_DATABASE_URL": main}
    refused = commands.run("restore", backup, folder=tmp_path, environ={**os.environ, **environ})
    assert (refused.returncode, "STYLOBATE_STATE_DATABASES: archive is missing" in refused.stderr) == (2, True)
    assert not archive.ask("select exists (select from pg_namespace where nspname = 'auth')", url=main)
    environ["STYLOBATE_STATE_DATABASES"] = f"archive={apart}"
    restored = commands.run("restore", backup, folder=tmp_path, environ={**os.environ, **environ})
    assert restored.returncode == 0, restored.stderr
    found = {url: archive.ask("select count(*) from state.state where key = $1", order, url=url) for url in (main, apart)}
    assert found == {main: 0, apart: 1}


def test_a_projection_is_made_in_another_database_than_its_events(archive: Archive, ada: Person) -> None:
    """The balances stand apart, the entries in the main database: each entry counts."""
    for number in range(4):
        assert ada.http.put(f"/v1/state/entries/{number}", json={"data": {"account": "acme", "amount": 10}}).status_code == 200
    assert wait_until(lambda: balance(ada) == {"sum": 40, "changes": 4}, WITHIN)
    assert archive.ask("select count(*) from state.state where namespace = 'balances'") == 5
    assert archive.ask("select count(*) from state.state where namespace = 'entries'") == 0


def test_watches_and_copies_follow_the_log_of_the_database(platform: Platform, ada: Person) -> None:
    """A watch tells how an order stands and what happens to it, a copy is given up when it does."""
    order = ada.order()
    cached = f"/v1/state/orders/{order}?consistency=cached"
    assert [ada.http.get(cached).json()["status"] for _ in range(2)] == ["pending", "pending"]
    with ada.http.stream("GET", f"/v1/state/orders/{order}/watch") as telling:
        lines = (line.removeprefix("data: ") for line in telling.iter_lines() if line.startswith("data: {"))
        assert json.loads(next(lines))["items"][0]["status"] == "pending"
        assert ada.http.post(f"/v1/state/orders/{order}/transitions/pay").status_code == 200
        assert json.loads(next(lines))["event"] == "pay"
    assert wait_until(lambda: ada.http.get(cached).json()["status"] == "paid", WITHIN)


def test_a_transaction_over_both_databases_is_refused(ada: Person, admin: Person) -> None:
    """With both operations named, and nothing written."""
    order = ada.order()
    asked = [
        {"op": "put", "namespace": "entries", "key": "never", "data": {"account": "acme", "amount": 1}},
        {"op": "transition", "namespace": "orders", "key": order, "event": "pay"},
    ]
    answer = ada.http.post("/v1/state/transactions", json={"operations": asked})
    told = answer.json()
    assert (answer.status_code, told["code"], told["metadata"]["index"]) == (422, "STATE_APART", "1"), answer.text
    assert ada.http.get("/v1/state/entries/never").status_code == 404
    assert ada.http.get(f"/v1/state/orders/{order}").json()["status"] == "pending"


def test_an_outage_is_that_of_the_database_alone(platform: Platform, archive: Archive, ada: Person, witness: Witness) -> None:
    """While one is away its namespaces answer 503, the others go on with hooks and all; when it is back so are they."""
    order = ada.order()
    archive.stop()
    away = ada.http.get(f"/v1/state/orders/{order}")
    assert (away.status_code, away.json()["code"]) == (503, "DATABASE_UNAVAILABLE")
    assert ada.http.put("/v1/state/entries/apart", json={"data": {"account": "zeta", "amount": 1}}).status_code == 200
    assert ada.http.get("/v1/state/entries/apart").json()["version"] == 1
    assert witness.saw_all({("apart", "")}, WITHIN)
    assert wait_until(lambda: "archive" in json.dumps(platform.status()), WITHIN)
    archive.start()
    assert wait_until(lambda: ada.http.get(f"/v1/state/orders/{order}").status_code == 200, WITHIN)
    assert ada.http.post(f"/v1/state/orders/{order}/transitions/pay").status_code == 200
    assert witness.saw_all({(order, "pay")}, WITHIN)


def balance(person: Person, account: str = "acme") -> dict[str, int]:
    """Return what an account holds."""
    found = person.http.get(f"/v1/state/balances/{account}").json().get("data", {})
    return {name: found.get(name) for name in ("sum", "changes")}


def with_another_schema(folder: Path) -> None:
    """Let the entries of a project have the next schema version."""
    tally = folder / "modules" / "tally"
    tally.unlink()
    shutil.copytree(TALLY, tally, ignore=shutil.ignore_patterns("__pycache__"))
    states, code = tally / "states.yaml", tally / "module.py"
    told = "entries:\n    schema_version: 2\n    upgrade: noted"
    states.write_text(states.read_text(encoding="utf-8").replace("entries:", told, 1), encoding="utf-8")
    method = "\n    def noted(self, data: dict, from_version: int) -> dict:\n        return data | {'note': from_version}\n"
    code.write_text(code.read_text(encoding="utf-8") + method, encoding="utf-8")


def test_a_namespace_is_moved_with_all_that_was_ever_written_of_it(
    platform: Platform, archive: Archive, ada: Person, witness: Witness
) -> None:
    """Versions, history, tombstones and answers go along; writes wait for the new place; no hook hears anything twice."""
    http = ada.http
    for amount in (1, 2, 3):
        http.put("/v1/state/entries/moved", json={"data": {"account": "moved", "amount": amount}})
    http.put("/v1/state/entries/gone", json={"data": {"account": "moved", "amount": 5}})
    http.delete("/v1/state/entries/gone")
    keyed = {"headers": {"idempotency-key": "once"}, "json": {"data": {"account": "moved", "amount": 9}}}
    made = http.put("/v1/state/entries/keyed", **keyed)
    before = {key: http.get(f"/v1/state/entries/{key}/history").json()["items"] for key in ("moved", "gone", "keyed", "1")}
    assert wait_until(lambda: balance(ada, "moved") == {"sum": 12, "changes": 6}, WITHIN)  # all six are counted
    done = platform.command("states", "move", "entries", "archive")
    assert done.returncode == 0, done.stderr
    late = http.put("/v1/state/entries/moved", json={"data": {"account": "moved", "amount": 4}})
    assert (late.status_code, late.json()["code"]) == (503, "STATE_MOVED")
    assert http.get("/v1/state/entries/moved").json()["version"] == 3
    again = platform.command("states", "move", "entries", "archive")
    assert "it stands in archive already" in again.stderr
    platform.stop()
    with_another_schema(platform.project.folder)
    folder, environ = platform.project.folder, witness.environ | {"STYLOBATE_STATE_DATABASES": f"archive={archive.url}"}
    left_out = {"STYLOBATE_STATE_PLACES": "orders=archive balances=archive"}
    with pytest.raises(PlatformFailedError, match="STYLOBATE_STATE_PLACES: entries stands in the database archive"):
        Platform(folder, environ=environ | left_out).start()
    named = {"STYLOBATE_STATE_PLACES": "orders=archive balances=archive entries=archive"}
    with Platform.run(folder, environ=environ | named) as moved, Person(moved.gateway) as person:
        person.email = ada.email
        http = person.login().http
        after = {key: http.get(f"/v1/state/entries/{key}/history").json()["items"] for key in before}
        assert after == before
        again = http.put("/v1/state/entries/keyed", **keyed)
        assert (again.json()["version"], again.headers["idempotency-replayed"]) == (made.json()["version"], "true")
        assert http.put("/v1/state/entries/gone", json={"data": {"account": "moved", "amount": 7}}).json()["version"] == 3
        assert wait_until(lambda: balance(person, "moved")["sum"] == 19, WITHIN), moved.command(
            "projections", "list"
        ).stdout + moved.log_tails(400)
        assert witness.saw_all({("gone", "")}, WITHIN)
        told = Counter(line["id"] for line in witness.seen() if line["type"].startswith("state.entries."))
        assert set(told.values()) == {1}, told
        kept(moved, archive, http)


def kept(platform: Platform, archive: Archive, http: Client) -> None:
    """Let operators move objects to another schema, give them out and take them in: that happens where they stand."""
    at = "from state.state where namespace = 'entries' and deleted_at is null and schema_version"
    assert archive.ask(f"select count(*) {at} = 1") > 0
    migrated = platform.command("states", "migrate", "entries")
    assert (migrated.returncode, archive.ask(f"select count(*) {at} = 1")) == (0, 0), migrated.stdout + migrated.stderr
    assert http.get("/v1/state/entries/moved").json()["data"]["note"] == 1
    given = platform.command("states", "export", "entries")
    lines = [json.loads(line) for line in given.stdout.splitlines()]
    assert len(lines) == archive.ask(f"select count(*) {at} = 2"), given.stderr
    copied = next(line for line in lines if line["key"] == "moved") | {"key": "copied"}
    taken = platform.command("states", "import", "entries", "-", stdin=json.dumps(copied) + "\n")
    assert taken.stdout.splitlines()[-1] == "entries: 1 objects written, 0 there already, 0 refused", taken.stderr
    assert archive.ask(f"select data->>'note' {at} = 2 and key = 'copied'") == "1"
