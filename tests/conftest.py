"""What tests of a running platform share: people, and the platform's logs in the report of a failure."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from stylobate.testing.platform import Platform

from .people import Person

ROOT = Path(__file__).parents[1]
SHOP = ROOT / "modules" / "shop"


@pytest.fixture
def person(platform: Platform) -> Iterator[Callable[[], Person]]:
    """Give a maker of people with an account and a session on the test's platform."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(Person(platform.gateway)).register()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the last lines of the platform's logs with a test that failed on it."""
    report = yield
    platform = getattr(item, "funcargs", {}).get("platform")
    if report.failed and isinstance(platform, Platform):
        report.sections.append(("the platform's logs", platform.log_tails()))
    return report
