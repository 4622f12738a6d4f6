"""Connections between processes come of age while many hooks hold streams on them: nobody may notice."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from stylobate.testing.platform import Platform

from tests.people import Person

WATCHERS = Path(__file__).parents[1] / "modules" / "watchers"
_EVERY_S = 0.05
_COMPLAINTS = {"hook_log_unreadable", "target_unreachable", "target_silent"}


def _complaints(platform: Platform) -> list[dict[str, Any]]:
    """Return what every process wrote so far of parts that it could not reach."""
    lines = (json.loads(line) for file in platform.log_files() for line in file.read_text().splitlines() if line[:1] == "{")
    return [line for line in lines if line["event"] in _COMPLAINTS]


@pytest.mark.soak
@pytest.mark.parametrize(("age", "seconds"), [("PT1S", 6), ("PT30S", 300)], ids=["short", "long"])
def test_streams_that_end_with_their_connection_refuse_no_call(tmp_path, age, seconds):
    """Eight durable hooks on one log, 20 writes a second between processes: no 503, and no warning of a log that is there."""
    answers = Counter[int]()
    settings = {"STYLOBATE_MAX_CONNECTION_AGE": age, "STYLOBATE_LOG_FORMAT": "json"}
    with (
        Platform.run(tmp_path, "--split", modules=[WATCHERS], environ=settings) as platform,
        Person(platform.gateway) as ada,
    ):
        platform.wait_healthy(timedelta(seconds=60))
        before = _complaints(platform)  # while everyone starts
        ada.register()
        refreshed = monotonic()
        end = monotonic() + seconds
        while monotonic() < end:
            if monotonic() - refreshed > 120:
                ada.login()
                refreshed = monotonic()
            answers[ada.act("watchers.touch", {"key": str(sum(answers.values()) % 50)}).status_code] += 1
            sleep(_EVERY_S)  # the load, not a wait
        assert _complaints(platform) == before
    said = ", ".join(f"{count} answers {status}" for status, count in sorted(answers.items()))
    print(f"{seconds} s, connections renewed after {age}: {said}; {answers[503]} of {answers.total()} were 503")  # noqa: T201  the figure
    assert set(answers) == {200}
