"""Namespaces in a database of their own: everything of them is there, and its outage is theirs alone."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from stylobate.testing.platform import Platform

from tests.apart.conftest import Archive
from tests.conftest import ROOT, SHOP
from tests.people import PASSWORD, Person
from tests.witness import MODULE, Witness

TALLY = ROOT / "tests" / "modules" / "tally"
WITHIN = timedelta(seconds=20)
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
    assert "state@orders" in listing.stdout, listing.stdout + listing.stderr
