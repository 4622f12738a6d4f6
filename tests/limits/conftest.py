"""A platform of four workers whose rules a file says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stylobate.testing.platform import Platform

from tests.conftest import SHOP
from tests.people import PASSWORD, Person

RULES = """
limits:
  edge.ip: { limit: 1000/second burst 100000 }
  edge.user: { limit: 1000/second burst 100000 }
  site.window: { limit: 100/minute, per: global, match: { route: "GET /v1/state/counted-by-window*" } }
  site.gcra: { limit: 100/hour gcra, per: global, match: { route: "GET /v1/state/counted-by-gcra*" } }
  site.patience:
    limit: 5/hour
    per: user
    match: { route: "GET /v1/actions" }
    ban: { after: 5, within: 1m, for: 10m, ceiling: 1h }
  site.looks: { limit: 1/hour, per: user, match: { route: "GET /v1/auth/me" }, shadow: true }
"""


@pytest.fixture(scope="package")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file."""
    file = tmp_path_factory.mktemp("rules") / "limits.yaml"
    file.write_text(RULES)
    return file


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory, rules: Path) -> Iterator[Platform]:
    """Give the platform."""
    environ = {
        "STYLOBATE_LIMITS_FILE": str(rules),
        "STYLOBATE_AUTH_LOGIN_IP": "1000/second",
        "STYLOBATE_AUTH_REGISTER_IP": "1000/second",
    }
    folder = tmp_path_factory.mktemp("limits")
    with Platform.run(folder, "--workers", "4", modules=[SHOP], environ=environ) as running:
        yield running


@pytest.fixture
def person(platform: Platform) -> Iterator[Any]:
    """Give what makes people with an account."""
    made: list[Person] = []

    def make(name: str = "ada") -> Person:
        made.append(Person(platform.gateway, name).register())
        return made[-1]

    yield make
    for one in made:
        one.http.close()


@pytest.fixture(scope="package")
def operator(platform: Platform) -> Iterator[Person]:
    """Give one who may do everything."""
    with Person(platform.gateway, "root") as root:
        made = platform.command("users", "create", root.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stderr
        yield root.login()
