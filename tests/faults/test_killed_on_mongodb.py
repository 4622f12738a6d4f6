"""The tests of killed processes once more, on a platform that keeps everything in MongoDB."""

from collections.abc import Iterator

import pytest
from stylobate.launcher.embedded import EmbeddedServerError
from stylobate.launcher.embedded.mongodb import binary
from stylobate.testing.platform import Platform

from tests.conftest import SHOP
from tests.faults.conftest import BRISK, CHAIN
from tests.faults.test_killed_processes import (  # noqa: F401  the tests
    test_a_key_is_one_change_whoever_is_killed,
    test_platform_recovers_from_each_killed_process,
    test_thirty_orders_with_one_key_are_one,
)
from tests.faults.traffic import UNHELD
from tests.witness import MODULE, Witness

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform with a process per service, and a MongoDB of its own."""
    try:
        binary()
    except EmbeddedServerError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("faults")
    environ = Witness(folder / "witnessed.jsonl").environ | UNHELD | BRISK
    with Platform.run(folder, "--split", "--database", "mongodb", modules=[SHOP, MODULE, CHAIN], environ=environ) as running:
        yield running
