"""One platform for all attacks, with the default bounds."""

from collections.abc import Iterator

import pytest
from stylobate.testing.platform import Platform

from tests.conftest import SHOP


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform in one process."""
    with Platform.run(tmp_path_factory.mktemp("edge"), modules=[SHOP]) as running:
        yield running
