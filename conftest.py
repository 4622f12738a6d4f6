"""Real servers and small test tools for every test of the repository."""

import gc
import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["stylobate.testing.fixtures"]

# How long an example takes says something of the machine only. The same examples each time, or a change would be refused for
# what another one did: `make fuzz` looks for new ones.
settings.register_profile("search", deadline=None, max_examples=1000)
settings.register_profile("stylobate", deadline=None, derandomize=True)
settings.load_profile("stylobate")


class _Lost(logging.Handler):
    """Keeps what asyncio says of tasks and futures whose exception nobody saw."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it; other errors of asyncio's are not ours to count, such as those of grpc's poller behind a closed loop."""
        if "never retrieved" in (text := logging.Formatter().format(record)):
            self.told.append(text)


_lost = _Lost()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the collector from looking again and again at what is imported and collected, which stays; see below.

    Each worker begins to import at another folder: of what is not compiled yet, as after a clone, each compiles a part.
    """
    gc.disable()
    logging.getLogger("asyncio").addHandler(_lost)
    worker = getattr(config, "workerinput", None)
    if worker is not None and config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        first = int(worker["workerid"].removeprefix("gw")) % len(config.args)
        config.args[:] = config.args[first:] + config.args[:first]


@pytest.fixture(scope="session")
def mongo_url(mongo_url: str) -> str:
    """Give the same, and hold what is sent there against what a sharded cluster would take."""
    from pymongo import monitoring  # noqa: PLC0415  the driver, for whoever uses it
    from stylobate.testing.shards import Shards, shard_keys  # noqa: PLC0415  the same

    page = Path(__file__).parent / "docs" / "concepts" / "storage.md"
    shards = Shards(shard_keys(page.read_text(encoding="utf-8")))
    monitoring.register(shards)
    _refused.append(shards.refused)
    return mongo_url


_refused: list[list[str]] = []
"""What a sharded cluster would have refused."""
_FIRST = ("tests/contract/", "libs/common/tests/http/")
"""Those that share a platform for minutes, one after the other, and those that wait most."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Begin with the longest, beside those that work most; short ones fill the gaps at the end.

    First every worker gets the same order, wherever it began.
    """
    folders = config.getini("testpaths")
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS:
        items.sort(key=lambda item: folders.index(item.nodeid.partition("/")[0]))
    yield
    places = {first: place for place, first in enumerate(_FIRST)}
    items.sort(key=lambda item: next((place for first, place in places.items() if item.nodeid.startswith(first)), len(_FIRST)))


def pytest_collection_finish() -> None:
    """Let it look at what comes from now on, as rarely as in a service."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep tests together that share a platform: those of a file, or of a folder that is a package.

    Marks of groups (`xdist_group`) do nothing with this pytest: xdist writes them into an attribute that is no longer read.
    """
    from xdist.scheduler import LoadScopeScheduling  # noqa: PLC0415  not everybody has it

    @cache
    def scope(name: str) -> str:
        file = Path(name)
        is_package = (config.rootpath / file.parent / "__init__.py").exists()
        return str(file.parent if is_package else file)

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return scope(nodeid.partition("::")[0])

    return Together(config, log)


@pytest.fixture(autouse=True)
def _nothing_fails_unseen() -> Iterator[None]:
    """Fail where a task failed and nobody asked. It falls due when the task is collected, so perhaps in a later test."""
    yield
    if _lost.told:
        told = "\n\n".join(_lost.told)
        _lost.told.clear()
        pytest.fail(told, pytrace=False)


@pytest.fixture(autouse=True)
def _a_sharded_cluster_would_take_it(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where a command was sent to MongoDB that a cluster with the documented shard keys refuses."""
    yield
    for refused in _refused:
        if request.node.get_closest_marker("not_sharded"):
            refused.clear()
        elif refused:
            told = "a sharded MongoDB would refuse:\n" + "\n".join(dict.fromkeys(refused))
            refused.clear()
            pytest.fail(told, pytrace=False)
