"""A platform for clients that are generated, and the people they call it as."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from stylobate.testing.platform import Platform

from tests.conftest import SHOP
from tests.people import PASSWORD, Person

_WIDE = "1000000/second"
_SETTINGS = {
    "STYLOBATE_RATELIMIT_EDGE_IP": _WIDE,  # counted, and never reached
    "STYLOBATE_RATELIMIT_EDGE_USER": _WIDE,
    "STYLOBATE_AUTH_ACCESS_TOKEN_LIFETIME": "1h",
}


@pytest.fixture(scope="package")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Give a running platform with the shop, and a module that has every shape of input."""
    modules = [SHOP, Path(__file__).parent / "modules" / "box"]
    with Platform.run(tmp_path_factory.mktemp("contract"), modules=modules, environ=_SETTINGS) as running:
        yield running


@pytest.fixture(scope="package")
def tokens(platform: Platform) -> Iterator[dict[str, str]]:
    """Give an access token by whom it makes of a caller; nobody has an empty one."""
    with Person(platform.gateway, "user") as user, Person(platform.gateway, "admin") as admin:
        made = platform.command("users", "create", admin.email, "--admin", "--password-stdin", stdin=f"{PASSWORD}\n")
        assert made.returncode == 0, made.stdout + made.stderr
        yield {"nobody": "", "user": user.register().token, "admin": admin.login().token}
