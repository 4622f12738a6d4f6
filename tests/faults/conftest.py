"""A split platform to break, with a witness of what reaches hooks and an administrator who may read everything."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from time import sleep

import pytest
from stylobate.testing.platform import Platform

from tests.conftest import ROOT, SHOP
from tests.faults.traffic import UNHELD, Acknowledged
from tests.people import PASSWORD, Person
from tests.witness import MODULE, Witness

CHAIN = ROOT / "tests" / "modules" / "chain"
BRISK = {"STYLOBATE_STATE_WATCH_QUIET": "1s"}
"""Who watches looks at every sign of life whether it is over."""
_HOOK_WITHIN = timedelta(seconds=60)
"""A lease that a killed process held must run out first, and what piled up be worked off."""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform with a process per service."""
    folder = tmp_path_factory.mktemp("faults")
    witness = Witness(folder / "witnessed.jsonl")
    with Platform.run(folder, "--split", modules=[SHOP, MODULE, CHAIN], environ=witness.environ | UNHELD | BRISK) as running:
        yield running


@pytest.fixture(scope="module")
def admin(platform: Platform) -> Iterator[Person]:
    """Give somebody who may read every order."""
    with Person(platform.gateway, "admin") as admin:
        made = platform.command("users", "create", admin.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield admin.login()


CheckNothingLost = Callable[[Acknowledged], None]


@pytest.fixture
def check_nothing_lost(platform: Platform, admin: Person) -> CheckNothingLost:
    """Give the check that all that was acknowledged stands in its history and reached the hook."""
    witness = Witness(Path(platform.project.folder) / "witnessed.jsonl")

    def check(acknowledged: Acknowledged) -> None:
        admin.login()
        histories: dict[str, list[str]] = {}
        for order, event in sorted(acknowledged.events):
            if order not in histories:
                while (
                    answer := admin.http.get(f"/v1/state/orders/{order}/history")
                ).status_code == 429:  # the reader's own haste
                    sleep(int(answer.headers["retry-after"]))
                assert answer.status_code == 200, f"order {order} was acknowledged and is gone: {answer.text}"
                histories[order] = [entry["event"] or "" for entry in answer.json()["items"]]
            assert histories[order].count(event) == 1, f"{event or 'creation'} of {order}: {histories[order]}"
        assert witness.saw_all(acknowledged.events, _HOOK_WITHIN), f"no hook saw {witness.missing(acknowledged.events)}"

    return check
