"""Timers while every process, and the database, is killed: each fires exactly once."""

from datetime import datetime, timedelta

import pytest
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import ROOT
from tests.people import Person

WITHIN = timedelta(seconds=60)
SEATS = 20


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Give a platform of three workers."""
    with Platform.run(
        tmp_path_factory.mktemp("timers"), "--workers", "3", modules=[ROOT / "tests" / "modules" / "seats"]
    ) as platform:
        yield platform


def events(person: Person, key: str) -> list[str]:
    """Return the events of a seat, the oldest first."""
    answer = person.http.get(f"/v1/state/seats/{key}/history")
    assert answer.status_code == 200, answer.text
    return [entry["event"] or entry["change"] for entry in reversed(answer.json()["items"])]


def test_a_timer_fires_once_whatever_is_killed(workers):
    """Three workers and PostgreSQL are killed before the time comes: twenty seats are released once each, a booked one never."""
    with Person(workers.gateway) as ada:
        ada.register()
        for seat in range(SEATS):
            assert ada.http.put(f"/v1/state/seats/{seat}", json={"data": {}}).status_code == 200
        assert ada.http.put("/v1/state/seats/booked", json={"data": {}}).json()["timers"]
        assert "timers" not in ada.http.post("/v1/state/seats/booked/transitions/book", json={}).json()
        for name in ("platform-0", "platform-1", "platform-2", "postgres"):
            workers.kill(name)
        workers.wait_healthy(WITHIN)

        def are_all_free() -> bool:
            listed = ada.http.get("/v1/state/seats", params={"status": "free"})
            return listed.status_code == 200 and len(listed.json()["items"]) == SEATS

        assert wait_until(are_all_free, WITHIN), workers.failure("not all seats were released")
        # one that is set now is due after all of those: when it has fired, nothing older is under way any more
        last = ada.http.put("/v1/state/seats/last", json={"data": {}}).json()["timers"][0]["at"]
        assert wait_until(lambda: events(ada, "last") == ["created", "release"], WITHIN), workers.failure("no timer fires")
        for seat in range(SEATS):
            assert events(ada, str(seat)) == ["created", "release"]
        assert events(ada, "booked") == ["created", "book"]
        (fired, _) = ada.http.get("/v1/state/seats/last/history").json()["items"]
        late = datetime.fromisoformat(fired["time"]) - datetime.fromisoformat(last)
        assert late >= timedelta()
        print(f"\nfired {late.total_seconds() * 1000:.0f} ms after its time")  # noqa: T201  a figure
