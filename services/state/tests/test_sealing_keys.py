"""Where the keys of encrypted fields come from, and what becomes of a key that is taken away while the service runs."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from stylobate.config import ConfigError
from stylobate.encryption import DataKeys, SecretKeyEncryption
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate.idempotency import Idempotency, Keeping
from stylobate.idempotency.memory import MemoryIdempotencyLedger
from stylobate_state.sealing import Sealing
from stylobate_state.sealing_keys import keep_sealed, open_sealing
from stylobate_state.settings import StateSettings
from stylobate_state.store.memory_owner_keys import MemoryOwnerKeyStore


class App:
    """What is asked of the service's app."""

    def __init__(self) -> None:
        """Have one namespace with an encrypted field."""
        self.declarations = SimpleNamespace(namespaces={"people": SimpleNamespace(encrypted=("ssn",))})
        self.takes: list[Any] = []
        self.vault = None

    def follow(self, *_fields: str, take: Any) -> None:
        """Note who takes changes."""
        self.takes.append(take)

    def check(self, _name: str, _check: Any) -> None:
        """Health is asked elsewhere."""


@pytest.mark.parametrize("transit", ["", "stylobate"])
async def test_requests_are_kept_with_a_secret_by_transit_alone_too(transit: str) -> None:
    """Whoever has the database cannot try values against the hashes, whatever seals the keys."""
    app: Any = App()
    settings = StateSettings(encryption_key="" if transit else "s" * 40, transit_key=transit)
    sealing = Sealing(DataKeys(MemoryDataKeyStore(), SecretKeyEncryption("t" * 40, purpose="test")))
    kept = [Idempotency(MemoryIdempotencyLedger(), lambda: datetime.now(UTC)) for _ in range(2)]
    keep_sealed(app, settings, sealing, kept)
    for _ in range(2):
        hashes = {(await one.keeping.ready()).requests(b"a request")[0] for one in kept}
        assert len(hashes) == 1
        assert hashes.isdisjoint(Keeping().requests(b"a request"))
        await app.takes[0](settings)


async def test_a_key_that_is_taken_away_is_used_on() -> None:
    """Nothing is ever sealed with a key that is made of no secret, which everybody has."""
    app: Any = App()
    sealing = await open_sealing(app, StateSettings(encryption_key="s" * 40), MemoryDataKeyStore(), MemoryOwnerKeyStore())
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_ENCRYPTION_KEY: missing"):
        await app.takes[0](StateSettings(encryption_key=""))
    assert sealing.keys is not None
    await sealing.keys.rotate("state/people")
    assert len({key.sealed_by for key in await sealing.keys.standings()}) == 1
