"""A namespace goes from one database to the next, of both kinds and back, while clients write it and the service is killed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from textwrap import dedent

import httpx
import pytest
from stylobate.database.mongodb.address import named
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import until

from tests.apart.conftest import Archive
from tests.witness import MODULE, Witness

pytestmark = pytest.mark.soak
WITHIN = timedelta(seconds=60)
CLIENTS = 8
SOME = 25
"""Changes that the clients make together before something happens."""
JOURNEY = ["archive", "main", "docs", "archive", "docs", "main"]
FILES = {
    "module.yaml": "name: desk\n",
    "states.yaml": """\
        namespaces:
          counters:
            indexes: [{ fields: [client], unique: true }]
            schema: { type: object, properties: { client: { type: integer }, count: { type: integer } } }
            access: { read: public, list: public, create: public, write: public }
        """,
}


class Load:
    """Clients that count up, each an object of its own, and remember what they were told."""

    def __init__(self) -> None:
        self.told: dict[int, dict[int, int]] = {client: {} for client in range(CLIENTS)}
        """By client: which count was acknowledged as which version."""
        self.sent = dict.fromkeys(range(CLIENTS), 0)
        self.refused = Counter[str]()

    @property
    def count(self) -> int:
        """How many changes were acknowledged."""
        return sum(len(told) for told in self.told.values())

    @asynccontextmanager
    async def on(self, gateway: str) -> AsyncIterator[None]:
        """Write all along."""
        async with httpx.AsyncClient(base_url=gateway, verify=NO_TLS, timeout=10) as http:
            clients = [asyncio.create_task(self._run(http, client)) for client in range(CLIENTS)]
            try:
                yield
            finally:
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)

    async def _run(self, http: httpx.AsyncClient, client: int) -> None:
        while True:
            self.sent[client] += 1
            data = {"client": client, "count": self.sent[client]}
            with suppress(httpx.HTTPError):
                answer = await http.put(f"/v1/state/counters/{client}", json={"data": data})
                if answer.status_code == 200:
                    self.told[client][self.sent[client]] = answer.json()["version"]
                else:
                    self.refused[answer.json()["code"]] += 1
            await asyncio.sleep(0.01)

    async def goes_on(self) -> None:
        """Return when some more changes were acknowledged."""
        wanted = self.count + SOME
        await until(lambda: self.count, wanted.__le__, within_s=WITHIN.total_seconds())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a project with a namespace of counters."""
    module = tmp_path / "project" / "modules" / "desk"
    module.mkdir(parents=True)
    for name, text in FILES.items():
        (module / name).write_text(dedent(text), encoding="utf-8")
    (module.parent / "witness").symlink_to(MODULE)
    return tmp_path / "project"


async def test_nothing_that_was_acknowledged_is_lost_on_any_way(
    folder: Path, archive: Archive, mongo_url: str, tmp_path: Path
) -> None:
    """Six moves under load, the service killed in each: each acknowledged change is in the history and heard by a hook, once."""
    witness, load, chance = Witness(tmp_path / "witnessed.jsonl"), Load(), Random(11)
    databases = f"archive={archive.url} docs={named(mongo_url, 'docs')}"
    environ = witness.environ | {"STYLOBATE_STATE_DATABASES": databases}
    here = "main"
    for there in [*JOURNEY, ""]:
        places = {} if here == "main" else {"STYLOBATE_STATE_PLACES": f"counters={here}"}
        with Platform.run(folder, "--split", environ=environ | places, keeps_data=True) as platform:
            async with load.on(platform.gateway):
                await load.goes_on()
                if not there:
                    break
                moving = asyncio.create_task(asyncio.to_thread(platform.command, "states", "move", "counters", there))
                await asyncio.sleep(chance.uniform(0, 0.2))
                platform.kill("state")
                await moving
                platform.wait_healthy(WITHIN)
                done = await asyncio.to_thread(platform.command, "states", "move", "counters", there)
                assert done.returncode == 0 or "stands in" in done.stderr, done.stderr
                load.refused.clear()
                await until(lambda: load.refused["STATE_MOVED"], (5).__le__, within_s=WITHIN.total_seconds())
            here = there
    with Platform.run(folder, environ=environ) as platform:
        async with httpx.AsyncClient(base_url=platform.gateway, verify=NO_TLS) as http:
            for client in range(CLIENTS):
                entries, page = [], ""
                while True:
                    found = (await http.get(f"/v1/state/counters/{client}/history", params={"page_token": page})).json()
                    entries += found["items"]
                    if not (page := found.get("next_page_token", "")):
                        break
                assert [entry["version"] for entry in entries] == list(range(len(entries), 0, -1))
                kept = {entry["data"]["count"]: entry["version"] for entry in entries}
                assert len(kept) == len(entries)
                lost = {count: version for count, version in load.told[client].items() if kept.get(count) != version}
                assert not lost, (client, lost)
                versions = {(str(client), version) for version in range(1, len(entries) + 1)}
                await until(lambda wanted=versions: wanted - heard(witness), frozenset().__eq__, within_s=WITHIN.total_seconds())
        assert set(Counter(line["id"] for line in witness.seen()).values()) == {1}
        for name in ("main", "archive", "docs"):
            cleared = platform.command("states", "clear", "counters", name)
            assert (cleared.returncode == 0) == (name != "main"), cleared.stderr
        assert "counters: main\n" in platform.command("states", "places").stdout


def heard(witness: Witness) -> set[tuple[str, int]]:
    """Return which versions of which counters reached the hook."""
    return {(line["subject"], line["version"]) for line in witness.seen() if line["type"].startswith("state.counters.")}
