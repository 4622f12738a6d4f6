"""A backup that is taken while orders are placed, put elsewhere: nothing acknowledged before it is missing, hooks go on."""

import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.outbox.event import PARTITIONS, partition_of
from stylobate.testing.platform import Platform

from tests.conftest import SHOP
from tests.people import Person
from tests.witness import MODULE, Witness

SOON = timedelta(seconds=60)
MODULES = (SHOP, MODULE)
ENVIRON = {
    "STYLOBATE_BACKUP_KEY": "a key that is long enough for everybody",
    "STYLOBATE_RATELIMIT_EDGE_IP": "100000/second",
    "STYLOBATE_RATELIMIT_EDGE_USER": "100000/second",
}


class Customers:
    """Place orders from several accounts at once, and keep which were acknowledged."""

    def __init__(self, gateway: str) -> None:
        self.placed: list[str] = []
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._place, args=(gateway, number)) for number in range(2)]
        for thread in self._threads:
            thread.start()

    def _place(self, gateway: str, number: int) -> None:
        while not self._over.is_set():
            with Person(gateway, f"customer-{number}") as person:
                person.register()
                for _ in range(25):
                    if not self._over.is_set():
                        self.placed.append(person.order())

    def end(self) -> None:
        """Place no more."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)


@pytest.mark.parametrize("database", ["postgresql", pytest.param("mongodb", marks=pytest.mark.soak)])
def test_a_backup_under_load_is_restored_elsewhere(tmp_path: Path, database: str) -> None:
    """Every order acknowledged before it is there and readable; every partition's next event reaches the hook."""
    backup = tmp_path / "backup"
    here, there = Witness(tmp_path / "here.jsonl"), Witness(tmp_path / "there.jsonl")
    with Platform.run(tmp_path / "a", "--database", database, modules=MODULES, environ={**ENVIRON, **here.environ}) as platform:
        with Person(platform.gateway) as ada:
            ada.register()
            orders = [ada.order() for _ in range(10)]
            email = ada.email
        customers = Customers(platform.gateway)
        try:
            while len(customers.placed) < 20:
                customers._over.wait(0.01)
            before = list(customers.placed)
            taken = platform.command("backup", str(backup))
        finally:
            customers.end()
        assert taken.returncode == 0, taken.stderr
        assert len(customers.placed) > len(before)
    files = b"".join(file.read_bytes() for file in backup.iterdir())
    assert email.encode() not in files

    other = Platform(tmp_path / "b", "--database", database, modules=MODULES, environ={**ENVIRON, **there.environ})
    for part in ("secrets", "identity"):
        shutil.copytree(platform.project.data / part, other.project.data / part)
    restored = other.command("restore", str(backup))
    assert restored.returncode == 0, restored.stderr
    try:
        other.start()
        with Person(other.gateway) as ada:
            ada.email = email
            ada.login()
            for order in orders:
                assert ada.http.get(f"/v1/state/orders/{order}").status_code == 200
            listed = other.command("states", "export", "orders").stdout
            assert not [order for order in before if order not in listed]
        wanted: set[tuple[str, str]] = set()
        while {partition_of("default", subject) for subject, _ in wanted} != set(range(PARTITIONS)):
            with Person(other.gateway) as person:
                person.register()
                wanted |= {(person.order(), "") for _ in range(25)}
        assert there.saw_all(wanted, SOON), f"{len(there.missing(wanted))} of {len(wanted)}"
        assert "0 dead letters" in other.command("hooks", "list").stdout
        again = other.command("restore", str(backup))
        assert (again.returncode, "is running here" in again.stderr) == (2, True)
    finally:
        other.stop()
