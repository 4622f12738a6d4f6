"""Requests with an idempotency key where Vault keeps the keys: hashed with a data key, and known by all processes."""

from datetime import timedelta

import pytest
from stylobate.encryption import DataKeys, KeyEncryption, KeyNotOpenedError, SealedKey, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.idempotency import NO_SECRET, Keeping, secret_of
from stylobate_state.errors import StateKeyUnavailableError
from stylobate_state.request_keys import DataKeyKeeping

CONTENT = b"a request"
SECRET = "s" * 40


class Lasting:
    """A KeyEncryption whose keys are used for a moment, as Transit's are for a day, until somebody takes the right away."""

    id = "t"
    lasts: timedelta | None = timedelta(seconds=0.2)

    def __init__(self) -> None:
        self.is_allowed = True
        self._secret: KeyEncryption = SecretKeyEncryption(SECRET, purpose="test")

    async def seal(self, data: bytes, about: str) -> SealedKey:
        """Seal."""
        return await self._secret.seal(data, about)

    async def open(self, sealed: bytes, sealed_by: str, about: str) -> bytes:
        """Open, or say no."""
        if not self.is_allowed:
            raise KeyNotOpenedError
        return await self._secret.open(sealed, sealed_by, about)


async def test_another_process_knows_a_request_and_whoever_has_the_database_does_not() -> None:
    """And what was kept with the secret that was there before is known still."""
    store = MemoryDataKeyStore()
    former = [secret_of("before"), NO_SECRET]
    both = [DataKeyKeeping(DataKeys(store, SecretKeyEncryption(SECRET, purpose="test")), former) for _ in range(2)]
    one, other = [await keeping.ready() for keeping in both]
    (request, *_), answer = one.requests(CONTENT), one.sealed(b"an answer", CONTENT)
    assert request not in {*Keeping().requests(CONTENT), *Keeping.of("before").requests(CONTENT)}
    assert b"an answer" not in answer
    assert other.opened(request, answer, CONTENT) == b"an answer"
    assert other.opened(request, answer, b"another") is None
    before = Keeping.of("before")
    assert other.opened(before.requests(CONTENT)[0], before.sealed(b"an answer", CONTENT), CONTENT) == b"an answer"
    (key,) = await store.all()
    assert key.purpose == "requests/state"


async def test_a_right_that_was_taken_away_ends() -> None:
    """A key that may not be opened any more is not used on, whatever stands in memory."""
    encryption = Lasting()
    keys = DataKeys(MemoryDataKeyStore(), encryption)
    keeping = DataKeyKeeping(keys, [NO_SECRET])
    first = (await keeping.ready()).requests(CONTENT)
    await keys._opened.open_anew()
    assert (await keeping.ready()).requests(CONTENT) == first
    encryption.is_allowed, encryption.lasts = False, timedelta(0)
    for key in keys._keys.values():
        key.until = 0.0
    await keys._opened.open_anew()
    with pytest.raises(StateKeyUnavailableError):
        await keeping.ready()
    encryption.is_allowed, encryption.lasts = True, timedelta(days=1)
    assert (await keeping.ready()).requests(CONTENT) == first
