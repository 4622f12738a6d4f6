"""The module's actions, run by the platform's own services over memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester


@pytest_asyncio.fixture
async def module() -> AsyncIterator[ActionTester]:
    """Serve the module in memory."""
    async with ActionTester.open(Path(__file__).parents[1]) as tester:
        yield tester


async def test_an_item_is_kept_for_who_added_it(module: ActionTester) -> None:
    """Others do not see it."""
    alice, bob = module.user("alice"), module.user("bob")
    item = await alice.call("example.add", {"text": "tea"})
    assert await alice.call("example.mine") == [item]
    assert await bob.call("example.mine") == []


async def test_an_item_without_text_is_refused(module: ActionTester) -> None:
    """The caller is told which field is wrong."""
    with pytest.raises(StylobateError) as refused:
        await module.user("alice").call("example.add", {"text": ""})
    assert [violation.pointer for violation in refused.value.violations] == ["/text"]
