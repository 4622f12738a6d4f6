"""Real servers and small test tools for every test of the repository."""

import pytest
from hypothesis import settings

pytest_plugins = ["stylobate.testing.fixtures"]

settings.register_profile("stylobate", deadline=None)  # how long an example takes says something of the machine only
settings.load_profile("stylobate")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests together that share a platform: those of a file, or of a folder that is a package."""
    for item in items:
        shared = item.getparent(pytest.Package) or item.getparent(pytest.Module)
        if shared is not None:
            item.add_marker(pytest.mark.xdist_group(shared.nodeid))
