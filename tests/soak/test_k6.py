"""The k6 scenario on a running platform, for those who have k6: it is a program of its own, under the AGPL, and CI has none."""

import shutil
import subprocess
from pathlib import Path

import pytest
from stylobate.testing.platform import HASHES_BY_DEFAULT, Platform

from tests.conftest import SHOP

SCENARIO = Path(__file__).parent / "k6" / "edge.js"
K6 = shutil.which("k6")

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600), pytest.mark.skipif(K6 is None, reason="k6 is not installed")]


def test_the_edge_holds_under_k6(tmp_path: Path) -> None:
    """Its thresholds hold: nothing is broken, keys place one order each, what passes does so in time. Prints k6's summary."""
    with Platform.run(tmp_path, modules=[SHOP], environ=HASHES_BY_DEFAULT) as platform:
        chosen = [f"BASE={platform.gateway}", "RATE=100", "DURATION=1m"]
        command = [str(K6), "run", "--quiet", *(part for one in chosen for part in ("-e", one)), str(SCENARIO)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    print(done.stdout)  # noqa: T201  the figures
    assert done.returncode == 0, done.stderr
