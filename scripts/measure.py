"""Prints the measure of the house: its lines and files, what stands twice, and through how many rooms a request walks.

The platform runs as `stylobate up` runs it, in one process, with the shop. What it enters between a request and its answer is
noted. Only what is entered each time counts, so that work in the background mostly does not.
"""

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic_ns

from rich.console import Console
from rich.table import Table
from stylobate.launcher.demo.browser import Browser
from stylobate.launcher.demo.subscriber import Subscriber
from stylobate.testing.platform import Platform

ROOT = Path(__file__).parents[1]
_TIMES = 12
_PAUSE_S = 0.2
_ALIKE = 6
"""Lines in a row that make a repetition."""
_PASSWORD = "a long enough password"  # noqa: S105
_ORDER = {"items": [{"sku": "tea", "quantity": 1}]}

Window = tuple[int, int]


def sources(package: Path) -> list[Path]:
    """Return the files of a package that people write: no tests, nothing generated."""
    return [
        path
        for path in sorted(package.rglob("*.py"))
        if "api" not in path.relative_to(package).parts[:1] and "_pb2" not in path.name
    ]


def packages() -> Iterator[Path]:
    """Give the library and each service."""
    yield ROOT / "libs" / "common" / "stylobate"
    yield from sorted((ROOT / "services").glob("*/stylobate_*"))


def repeated(files: list[Path]) -> int:
    """Return how many lines stand in a row of six or more that stands elsewhere too; imports and blank lines do not count."""
    rows: dict[tuple[str, ...], list[tuple[Path, int]]] = {}
    for path in files:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line and not line.startswith(("import ", "from ", '"""'))]
        for at in range(len(lines) - _ALIKE + 1):
            rows.setdefault(tuple(lines[at : at + _ALIKE]), []).append((path, at))
    twice = (place for places in rows.values() if len(places) > 1 for place in places)
    return len({(path, at + further) for path, at in twice for further in range(_ALIKE)})


class Walks:
    """Requests to a running platform, one after the other, each with the moments of its beginning and end."""

    def __init__(self) -> None:
        self.windows: dict[str, list[Window]] = {}

    async def walk(self, name: str, ask: Callable[[], Awaitable[object]]) -> None:
        """Ask a number of times, with pauses in which the platform comes to rest."""
        for _ in range(_TIMES):
            await asyncio.sleep(_PAUSE_S)
            begun = monotonic_ns()
            await ask()
            self.windows.setdefault(name, []).append((begun, monotonic_ns()))

    async def run(self, gateway: str) -> None:
        """Log in, order, read, and wait for pushes."""
        async with Browser(gateway) as browser:
            person = {"email": "measure@example.com", "password": _PASSWORD}
            await browser.post("/v1/auth/register", person)
            browser.token = (await browser.post("/v1/auth/login", person)).body["access_token"]
            await self.walk("login", lambda: browser.post("/v1/auth/login", person))
            order = str((await browser.action("shop.place_order", _ORDER)).body["id"])
            await self.walk("order", lambda: browser.action("shop.place_order", _ORDER))
            await self.walk("state read", lambda: browser.read(f"/v1/state/orders/{order}"))
            await self._pushes(gateway, browser)

    async def _pushes(self, gateway: str, browser: Browser) -> None:
        """Pay orders of which each has a listener; a push ends with its arrival."""
        for _ in range(_TIMES):
            order = str((await browser.action("shop.place_order", _ORDER)).body["id"])
            listener = Subscriber(f"{gateway.replace('http', 'ws', 1)}/v1/realtime", browser.token)
            await listener.subscribe(f"orders:{order}")
            await asyncio.sleep(_PAUSE_S)
            begun = monotonic_ns()
            await browser.action("shop.pay_order", {"order_id": order})
            while (await listener.push()).get("status") != "paid":
                pass
            self.windows.setdefault("push", []).append((begun, monotonic_ns()))
            await listener.close()


def entered(notes: Path, windows: list[Window]) -> set[str]:
    """Return the functions that were entered in each of the windows, as ``file function``."""
    times: Counter[str] = Counter()
    seen: list[set[str]] = [set() for _ in windows]
    for line in notes.read_text(encoding="utf-8").splitlines():
        moment, _, name = line.partition(" ")
        for (begun, ended), names in zip(windows, seen, strict=True):
            if begun <= int(moment) <= ended:
                names.add(name)
    for names in seen:
        times.update(names)
    return {name for name, count in times.items() if count == len(windows)}


def walked(folder: Path) -> dict[str, set[str]]:
    """Run the platform and return what each kind of request enters."""
    notes = folder / "notes"
    environ = {
        "PYTHONPATH": str(Path(__file__).parent / "walk"),
        "WALK_NOTES": str(notes),
        "STYLOBATE_AUTH_LOGIN_ACCOUNT": "1000/minute",
    }
    with Platform.run(folder / "project", modules=[ROOT / "modules" / "shop"], environ=environ, is_anew=True) as platform:
        walks = Walks()
        asyncio.run(walks.run(platform.gateway))
    return {name: entered(notes, windows) for name, windows in walks.windows.items()}


def main() -> None:
    """Print the tables; with ``-v`` what each request enters."""
    console = Console(width=100)
    size = Table("package", "files", "lines", title="Size", title_justify="left")
    everything: list[Path] = []
    for package in packages():
        files = sources(package)
        everything += files
        size.add_row(package.name, str(len(files)), f"{sum(len(path.read_text().splitlines()) for path in files):,}")
    lines = sum(len(path.read_text().splitlines()) for path in everything)
    size.add_row("all", str(len(everything)), f"{lines:,}")
    console.print(size)
    console.print(f"lines that stand twice or more, {_ALIKE} in a row: {repeated(everything)}\n")
    folder = Path(tempfile.mkdtemp())
    try:
        rooms = walked(folder)
    finally:
        shutil.rmtree(folder)
    walks = Table("request", "files", "functions", title="What a request enters", title_justify="left")
    for name, functions in rooms.items():
        walks.add_row(name, str(len({function.partition(" ")[0] for function in functions})), str(len(functions)))
    console.print(walks)
    if "-v" in sys.argv:
        for name, functions in rooms.items():
            console.print(f"\n{name}", *sorted(functions), sep="\n  ", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
