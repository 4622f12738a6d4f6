"""One platform in one process, for all journeys."""

from collections.abc import Iterator

import pytest
from stylobate.testing.platform import CHEAP_HASHES, Platform

from tests.conftest import SHOP


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform with the shop."""
    with Platform.run(tmp_path_factory.mktemp("e2e"), modules=[SHOP], environ=CHEAP_HASHES, is_anew=True) as running:
        yield running
