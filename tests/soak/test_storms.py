"""Storms of new connections, for longer than the benchmark: nobody who is connected fails, and no newcomer is forgotten."""

import pytest

from bench import storms

SECONDS = 30
RATES = {"plain": 2000, "TLS": 500}

pytestmark = [pytest.mark.soak, pytest.mark.timeout(300)]


def test_a_storm_fails_nobody_who_is_connected() -> None:
    """Each of their calls is answered with 200, before, in and after the storm; each newcomer is answered, refused or waits."""
    with storms.Clients.open() as clients:
        for kind in storms.kinds([RATES["plain"]], [RATES["TLS"]]):
            for rate, seconds in ((RATES[kind.name], SECONDS), (1, 2)):
                found = storms.storm(clients, kind, kind.places[0], rate, seconds)
                print(kind.name, found)  # noqa: T201  the figures
                there, came = found["residents"], found["newcomers"]
                assert there["failed"] == 0, there["first_failure"]
                told = sum(came[what] for what in ("answered", "refused", "late", "unheard"))
                closed = came["cut"] if kind.name == "TLS" else 0
                assert (told + closed, came["other"]) == (rate * seconds, 0)
                assert rate > 1 or came["answered"] == seconds
