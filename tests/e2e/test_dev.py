"""`stylobate dev`, as a developer sees it: what is saved, what is broken, what is asked."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from threading import Event

import httpx
import pytest
from stylobate.testing.plain_http import NO_TLS
from stylobate.testing.platform import Platform
from stylobate.testing.until import wait_until

from tests.conftest import SHOP
from tests.people import Person

WITHIN = timedelta(seconds=60)


@pytest.fixture
def developed(tmp_path: Path) -> Iterator[tuple[Platform, Path]]:
    """Give a platform under `dev` and the folder of its one module, a copy of the shop."""
    module = tmp_path / "modules" / "shop"
    shutil.copytree(SHOP, module, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    with Platform.run(tmp_path, command="dev") as platform:
        assert wait_until(lambda: "see it:" in shown(platform), WITHIN)
        yield platform, module


def shown(platform: Platform) -> str:
    """Return what stands on the terminal."""
    return platform.output.read_text(encoding="utf-8", errors="replace")


def save(platform: Platform, file: Path, text: str) -> str:
    """Save the file and return what is shown until everything runs again."""
    before = len(shown(platform))
    file.write_text(text, encoding="utf-8")
    assert wait_until(lambda: " again" in shown(platform)[before:], WITHIN), shown(platform)
    return shown(platform)[before:]


def test_what_is_broken_is_shown_where_it_is(developed) -> None:
    """A save that breaks a module is told with file and line, never as all well; mending it is all well again.

    The document of the API follows what was saved.
    """
    platform, module = developed
    for file, broken in (("module.py", "\ndef broken(:\n"), ("states.yaml", "\n  : : [\n"), ("actions.yaml", "\nnonsense: 1\n")):
        path, good = module / file, (module / file).read_text(encoding="utf-8")
        said = save(platform, path, good + broken)
        assert f"{file}:" in said, said
        assert "without what is broken" in said
        assert "ready again" not in said
        assert "ready again" in save(platform, path, good)
    actions = module / "actions.yaml"
    save(platform, actions, actions.read_text(encoding="utf-8").replace("summary: Place an order", "summary: Ask for goods"))
    assert wait_until(lambda: _summary(platform) == "Ask for goods", WITHIN), _summary(platform)


def _summary(platform: Platform) -> str:
    """Return what the document says of the action that places an order."""
    document = httpx.get(f"{platform.gateway}/openapi.json", timeout=30, verify=NO_TLS).json()
    return str(document["paths"]["/v1/actions/shop.place_order"]["post"].get("summary"))


def test_requests_and_failures_are_seen_as_they_happen(developed) -> None:
    """A request is a line; a handler's traceback is whole, without local variables; what it prints is shown."""
    platform, module = developed
    code = (module / "module.py").read_text(encoding="utf-8")
    begin = "        return await ctx.state.transition"
    assert code.count(begin) or "async def pay_order" in code
    head, _, tail = code.partition("async def pay_order")
    line, _, rest = tail.partition("\n")
    planted = (
        '        password = "hidden in a local"\n        print("printed by a handler")\n        raise ValueError("planted")\n'
    )
    save(platform, module / "module.py", f"{head}async def pay_order{line}\n{planted}{rest}")
    with Person(platform.gateway) as ada:
        order = ada.register().order()
        assert ada.http.post("/v1/actions/shop.pay_order", json={"order_id": order}).status_code == 500
    assert wait_until(lambda: "ValueError: planted" in shown(platform), WITHIN)
    assert wait_until(lambda: "POST /v1/actions/shop.pay_order  500" in shown(platform), WITHIN)
    assert "printed by a handler" in shown(platform)
    assert 'raise ValueError("planted")' in shown(platform)
    assert shown(platform).count("hidden in a local") == 0


def test_orders_of_before_are_moved_to_a_new_schema(developed) -> None:
    """They are read as data of today at once, and stored as such by one command, which names the one that cannot be upgraded."""
    platform, module = developed
    states, code = (module / name for name in ("states.yaml", "module.py"))
    upgrade = """
    def in_tenths(self, data: Json, from_version: int) -> Json:
        if data["total"] > 10_000:
            raise ValueError("too dear")
        return data | {"total": data["total"] * 10}
"""
    with Person(platform.gateway) as ada:
        good = ada.register().order()
        dear = ada.act("shop.place_order", {"items": [{"sku": "tea", "quantity": 90}]}).json()["id"]
        total = ada.http.get(f"/v1/state/orders/{good}").json()["data"]["total"]
        text = code.read_text(encoding="utf-8")
        save(platform, code, text.replace("    def price(", f"{upgrade}\n    def price("))
        text = states.read_text(encoding="utf-8")
        save(platform, states, text.replace("schema_version: 1", "schema_version: 2\n    upgrade: in_tenths"))
        assert ada.http.get(f"/v1/state/orders/{good}").json()["data"]["total"] == 10 * total
        assert ada.http.get(f"/v1/state/orders/{dear}").json()["schema_version"] == 1
        for _ in range(2):
            moved = platform.command("states", "migrate", "orders")
            assert moved.returncode == 1
            assert f"orders/{dear} (version 1, schema version 1): ValueError: too dear" in moved.stdout
        assert ada.http.get(f"/v1/state/orders/{good}").json()["data"]["total"] == 10 * total
        changes = ada.http.get(f"/v1/state/orders/{good}/history").json()["items"]
        assert [(one["version"], one["change"]) for one in changes] == [(2, "migrated"), (1, "created")]
        looked = platform.command("states", "check", "--live", "orders")
        assert (looked.returncode, looked.stdout.splitlines()[-1]) == (1, "orders: 2 keys looked at, 1 objects amiss")
        erased = platform.command("states", "erase", "orders", good)
        assert (erased.returncode, erased.stdout.strip()) == (1, f"orders/{good}: 1 versions erased")
        assert "stands there, at version 2" in erased.stderr
        assert ada.http.get(f"/v1/state/orders/{good}?version=1").json()["code"] == "STATE_VERSION_FORGOTTEN"
        assert ada.http.get(f"/v1/state/orders/{good}?version=2").json()["version"] == 2
        file = module.parent.parent / "orders.jsonl"
        assert platform.command("states", "export", "orders", "--to", str(file)).returncode == 0
        whole = file.read_bytes()
        file.write_bytes(whole[:-20])  # as a kill leaves it
        assert platform.command("states", "export", "orders", "--to", str(file)).returncode == 0
        assert file.read_bytes() == whole
        lines = (
            whole + b'nonsense\n{"key": "new", "data": {"total": 1, "items": [{"sku": "a", "quantity": 1}]}, "status": "paid"}\n'
        )
        taken = platform.command("states", "import", "orders", "-", stdin=lines.decode())
        assert taken.returncode == 1
        said = taken.stdout.splitlines()
        assert (said[0][:8], said[1][:32], said[-1]) == (
            "line 2: ",
            "line 3: is not an object of an e",
            "orders: 1 objects written, 1 there already, 2 refused",
        )


def test_nobody_is_refused_while_it_restarts(developed) -> None:
    """Who connects during a restart waits for the new code and is answered."""
    platform, module = developed
    code = (module / "module.py").read_text(encoding="utf-8")
    done = Event()

    def ask() -> int:
        asked = 0
        while not done.is_set():
            with httpx.Client(base_url=platform.gateway, timeout=30, verify=NO_TLS) as client:  # a connection of its own each
                assert client.get("/.well-known/jwks.json").status_code in {200, 503}
            asked += 1
        return asked

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        for number in range(3):
            save(platform, module / "module.py", f"{code}\n# {number}\n")
        done.set()
        assert asking.result() > 3
