"""Where the keys of encrypted fields come from, and what becomes of a key that is taken away while the service runs."""

from types import SimpleNamespace
from typing import Any

import pytest
from stylobate.config import ConfigError
from stylobate.encryption.memory import MemoryDataKeyStore
from stylobate_state.sealing_keys import open_sealing
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


async def test_a_key_that_is_taken_away_is_used_on() -> None:
    """Nothing is ever sealed with a key that is made of no secret, which everybody has."""
    app: Any = App()
    sealing = await open_sealing(app, StateSettings(encryption_key="s" * 40), MemoryDataKeyStore(), MemoryOwnerKeyStore())
    with pytest.raises(ConfigError, match="STYLOBATE_STATE_ENCRYPTION_KEY: missing"):
        await app.takes[0](StateSettings(encryption_key=""))
    assert sealing.keys is not None
    await sealing.keys.rotate("state/people")
    assert len({key.sealed_by for key in await sealing.keys.standings()}) == 1
