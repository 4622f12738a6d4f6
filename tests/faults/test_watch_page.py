"""The page of the how-to, word for word, in a real browser: it stays right whatever is killed."""

import json
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform

from tests.browser import program
from tests.faults.traffic import UNHELD

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "tests" / "modules" / "board"
WITHIN = timedelta(seconds=60)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_page_watches_through_kills(tmp_path: Path) -> None:
    """`EventSource` comes back by itself with its last id, and the map of the page is what the namespace holds."""
    how_to = (ROOT / "docs" / "how-to" / "watch-state.md").read_text()
    snippet = re.search(r"## From a page\n.*?```js\n(.*?)```", how_to, re.DOTALL)
    assert snippet is not None
    (tmp_path / "page").mkdir()
    with Platform.run(tmp_path / "project", "--split", modules=[BOARD], environ=UNHELD) as platform:
        command = [*program(tmp_path / "page", "watch.mjs"), platform.gateway, snippet[1], str(tmp_path / "profile")]
        api = httpx.Client(base_url=f"{platform.gateway}/v1/state/board", verify=NO_TLS, timeout=30)
        with api, Page(command, tmp_path / "page") as page:
            for key in ("a", "b", "c"):
                api.put(key, json={"data": {}}).raise_for_status()
            page.shows(a=1, b=1, c=1)
            api.post("a/transitions/send").raise_for_status()
            api.delete("b").raise_for_status()
            opened = page.shows(a=2, c=1)["opened"]
            for number, victim in enumerate(("gateway", "state", "valkey", "postgres", "gateway"), 2):
                platform.kill(victim)
                platform.wait_healthy(WITHIN)
                api.put("c", json={"data": {"number": number}}).raise_for_status()
                said = page.shows(a=2, c=number)
            assert said["opened"] > opened, "the connection was never lost"


class Page:
    """The page in the browser, for as long as the block lasts."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._running = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the browser."""
        with self._running:  # closes what it reads: then the browser is closed
            pass

    def shows(self, **versions: int) -> dict[str, Any]:
        """Wait until the map of the page has just these keys at these versions; return what the page said of it."""
        assert self._running.stdin is not None
        assert self._running.stdout is not None
        self._running.stdin.write(json.dumps(versions) + "\n")
        self._running.stdin.flush()
        line = self._running.stdout.readline()
        assert line, f"the page never showed {versions}"
        said: dict[str, Any] = json.loads(line)
        return said
