"""What an ephemeral namespace keeps goes with the test's clock."""

from datetime import timedelta
from pathlib import Path

import pytest
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester

DESK = Path(__file__).parent / "modules" / "desk"


async def test_an_object_goes_by_the_tests_clock() -> None:
    """A change gives it its time anew, a read does not; afterwards it can be made again."""
    async with ActionTester.open(DESK) as tester:
        ada = tester.user("ada")
        await ada.call("desk.pad", "make")
        await tester.advance(timedelta(minutes=6))
        assert await ada.call("desk.pad", "scribble") == ["full", {"text": "x"}, True]
        await tester.advance(timedelta(minutes=6))
        assert await ada.call("desk.pad", "get") == ["full", {"text": "x"}, True]
        assert await tester.advance(timedelta(minutes=6)) == []
        assert await ada.call("desk.pad", "get") is None
        with pytest.raises(StylobateError) as refused:
            await ada.call("desk.pad", "scribble")
        assert refused.value.reason == "STATE_NOT_FOUND"
        assert await ada.call("desk.pad", "all") == []
        assert await ada.call("desk.pad", "make") == ["blank", {"text": ""}, True]
