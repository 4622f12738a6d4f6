"""Real servers and small test tools for every test of the repository."""

import gc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

pytest_plugins = ["stylobate.testing.fixtures"]

settings.register_profile("stylobate", deadline=None)  # how long an example takes says something of the machine only
settings.load_profile("stylobate")


def pytest_configure() -> None:
    """Keep the collector from looking again and again at what is imported and collected, which stays; see below."""
    gc.disable()


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

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            is_package = (config.rootpath / file.parent / "__init__.py").exists()
            return str(file.parent if is_package else file)

    return Together(config, log)
