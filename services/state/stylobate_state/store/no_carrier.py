"""A Carrier between databases of two kinds: there is none yet, and it says so before anything is noted."""

from collections.abc import Sequence
from typing import NoReturn

from stylobate_state.errors import StateMoveRefusedError
from stylobate_state.index import Index
from stylobate_state.model import StateKey
from stylobate_state.store.moving import Carried


class NoCarrier:
    """Refuses every step. A namespace without objects begins in such a database all the same: its setting is enough.

    :param name: of the other database.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    async def begin(self, namespace: str) -> None:
        """Refuse. Raises StateMoveRefusedError."""
        self._refuse(namespace)

    async def carry(self, namespace: str, after: StateKey | None, most: int) -> Carried:
        """Refuse. Raises StateMoveRefusedError."""
        del after, most
        self._refuse(namespace)

    async def enter(self, indexes: Sequence[Index]) -> bool:
        """Refuse. Raises StateMoveRefusedError."""
        self._refuse(next((index.namespace for index in indexes), ""))

    async def finish(self, namespace: str) -> None:
        """Refuse. Raises StateMoveRefusedError."""
        self._refuse(namespace)

    def _refuse(self, namespace: str) -> NoReturn:
        raise StateMoveRefusedError(
            namespace, f"{self._name} is a database of another kind; objects are carried between two of the same kind"
        )
