"""What requests with an idempotency key are hashed with, and their answers sealed, where Vault keeps the keys of state.

A secret of the service does both where there is one. With Transit there may be none: a data key takes its place, which stands in
the database sealed by Transit, as those of fields do.
"""

from collections.abc import Sequence

from stylobate.encryption import DataKey, DataKeys, KeyNotOpenedError
from stylobate.idempotency import NO_SECRET, Keeping

from stylobate_state.errors import StateKeyUnavailableError

PURPOSE = "requests/state"
"""Not the name of a namespace's keys."""
_WHAT = "requests with an idempotency key"


class DataKeyKeeping(Keeping):
    """A Keeping by a data key that is opened when it is needed first, and again when Vault has to say that it may be.

    :param former: secrets that requests may have been kept with before.
    """

    def __init__(self, keys: DataKeys, former: Sequence[bytes]) -> None:
        super().__init__(NO_SECRET, *former)
        self._keys = keys
        self._former = former
        self._key: DataKey | None = None
        self._holds: Keeping = self

    async def ready(self) -> Keeping:
        """See Keeping. Raises StateKeyUnavailableError where the key is not to be had, UnavailableError."""
        if self._key is None or not self._keys.uses(self._key):
            try:
                self._key = await self._keys.lasting(PURPOSE)
            except KeyNotOpenedError:
                raise StateKeyUnavailableError(_WHAT) from None
            self._holds = Keeping(self._key.secret, *self._former)
        return self._holds
