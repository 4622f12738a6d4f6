"""The same cases in every placement: one platform each, started when its turn comes.

The ones in between are for the long run: all services in one process, and several processes of each, hold what theirs do.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stylobate.testing.platform import Platform

from tests.conftest import SHOP
from tests.witness import MODULE, Witness

PLACEMENTS = {
    "one process": (),
    "two workers": pytest.param(("--workers", "2"), marks=pytest.mark.soak),
    "split": pytest.param(("--split",), marks=pytest.mark.soak),
    "split, two workers each": ("--split", "--workers", "2"),
}
_PROBE = Path(__file__).parent / "modules" / "probe"


@pytest.fixture(scope="package", params=PLACEMENTS.values(), ids=PLACEMENTS)
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform of the placement."""
    folder = tmp_path_factory.mktemp("placement")
    witness = Witness(folder / "witnessed.jsonl")
    many = dict.fromkeys(("STYLOBATE_AUTH_LOGIN_IP", "STYLOBATE_AUTH_REFRESH_IP"), "1000/second")  # all tests are one address
    environ = witness.environ | {"STYLOBATE_AUTH_SIGNING_KEY_NOTICE": "2s"} | many
    with Platform.run(folder, *request.param, modules=[SHOP, _PROBE, MODULE], environ=environ) as running:
        yield running


@pytest.fixture
def witness(platform: Platform) -> Witness:
    """Give what the hook of the running platform wrote down."""
    return Witness(platform.project.folder / "witnessed.jsonl")


@pytest.fixture
def has_workers(request: pytest.FixtureRequest) -> bool:
    """Tell whether more than one process serves the same ports."""
    return "workers" in request.node.callspec.id
