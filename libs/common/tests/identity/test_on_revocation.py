"""Who holds connections open hears of revocations."""

from datetime import timedelta

from stylobate.identity.auth_feed import FeedTimings


async def test_every_new_revocation_is_told_once(authority, eventually):
    """A revocation that comes on the stream is told; one that is known already, or came again in a list, is not."""
    told: list[int] = []
    timings = FeedTimings(list_every=timedelta(milliseconds=20))
    async with authority.verifier(timings=timings) as verifier:
        await verifier.ready.wait()
        verifier.on_revocation(lambda: told.append(1))
        authority.revoke("SESSION", "session-1")
        authority.revoke("SUBJECT", "user-2", not_before=authority.clock.now)

        async def both() -> bool:
            return len(told) == 2

        await eventually(both)
        for _ in range(3):  # the whole list is read again and again
            await authority.tokens.lists.acquire()
        authority.revoke("SESSION", "session-1")
        authority.revoke("SUBJECT", "user-2", not_before=authority.clock.now + 1)

        async def three() -> bool:
            return len(told) == 3

        await eventually(three)
    assert len(told) == 3
