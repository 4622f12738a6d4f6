"""What a test of a module sees of exported and deleted accounts is what the platform does."""

from pathlib import Path

import pytest
from stylobate.errors import StylobateError
from stylobate.testing.modules import ActionTester

PEOPLE = Path(__file__).parent / "modules" / "people"


async def test_an_export_holds_what_is_owned_and_what_modules_yield() -> None:
    """Hidden fields too, `export: false` not; of that user and no other."""
    async with ActionTester.open(PEOPLE) as tester:
        ada, bob = tester.user("ada"), tester.user("bob")
        key = await ada.call("people.write")
        await bob.call("people.write")
        await bob.call("people.recommend", "ada")
        found = await tester.export_user("ada")
        assert [*found] == ["state/bills", "state/letters", "modules/people"]
        (letter,) = found["state/letters"]
        assert (letter["key"], letter["version"], letter["data"]) == (key, 1, {"text": "Dear", "weight": 20})
        assert [record["recommended"] for record in found["modules/people"]] == [1]
        assert await tester.export_user("eve") == {}
        with pytest.raises(AssertionError, match="module people is not complete: ASKED_FOR_SILENCE: Nothing is said"):
            await tester.export_user("silent")


async def test_a_deleted_user_is_forgotten_as_namespaces_say() -> None:
    """What is deleted and what becomes a stranger's; the events come to hooks with the next delivery."""
    async with ActionTester.open(PEOPLE) as tester:
        ada, bob = tester.user("ada"), tester.user("bob")
        await ada.call("people.write")
        await bob.call("people.write")
        await bob.call("people.recommend", "ada")
        await tester.deliver()
        await tester.delete_user("ada")
        assert await tester.export_user("ada") == {}
        assert sorted(event.type for event in await tester.deliver()) == ["state.bills.assigned", "state.letters.deleted"]
        assert [*await tester.export_user("bob")] == ["state/bills", "state/letters"]


async def test_who_somebody_is() -> None:
    """All to who holds `users:read`, to anybody else whether there is such an account, and of their own all."""
    async with ActionTester.open(PEOPLE) as tester:
        ada, root = tester.user("ada"), tester.user("root", "admin")
        tester.user("bob")
        theirs, bobs = ["ada", True, "ada", "ada@example.com"], ["bob", False, "", ""]
        assert await ada.call("people.who", ["bob", "nobody", "ada", "bob"]) == [bobs, theirs]
        assert await root.call("people.who", ["ada"]) == [theirs]
        assert await tester.anonymous.call("people.who", ["bob"]) == [bobs]
        with pytest.raises(StylobateError) as refused:
            await ada.call("people.who", ["nobody"])
        assert refused.value.reason == "USER_NOT_FOUND"
        await tester.delete_user("bob")
        assert await root.call("people.who", ["ada", "bob"]) == [theirs]
