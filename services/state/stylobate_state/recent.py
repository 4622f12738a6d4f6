"""Objects as this process wrote them last: what a change may begin with instead of reading.

That is a guess, as another process may have changed the object since. What is built on one is written for exactly that version,
of that moment (:attr:`~stylobate_state.model.Write.seen`), or not at all; and a refusal because of a guess is told nobody.
In both cases the object is read, and all is decided anew.
"""

from stylobate_state.model import StateKey, StateRecord

_MOST = 2048
_LARGEST = 4096
"""Bytes of data: larger objects are read, so that all of this stays below some megabytes."""
_LONGEST_REST = 1024


class RecentStates:
    """The objects that were written last, by key; the latest at the end.

    Where others change the same objects, guesses are wrong, and each costs a statement. So a wrong one is followed by a rest, in
    which everything is read: twice as long after each that is wrong, half as long after each that is right.
    """

    def __init__(self) -> None:
        self._states: dict[StateKey, StateRecord] = {}
        self._rest = 1
        self._resting = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._states)

    def guess(self, key: StateKey) -> StateRecord | None:
        """Return how an object may stand; None: it is to be read."""
        if self._resting:
            self._resting -= 1
            return None
        return self._states.get(key)

    def was_wrong(self, guess: StateRecord) -> None:
        """Say that an object does not stand as it was guessed.

        Where this process itself wrote it meanwhile the next guess is as good as any: callers who race for one object with a
        version each must not make all other changes read.
        """
        if self._states.get(guess.key) is not guess:
            return
        del self._states[guess.key]
        self._rest = min(self._rest * 2, _LONGEST_REST)
        self._resting = self._rest

    def was_right(self) -> None:
        """Say that an object stood as it was guessed."""
        if self._rest > 1:
            self._rest //= 2

    def keep(self, state: StateRecord) -> None:
        """Take an object as it was just written."""
        self._states.pop(state.key, None)
        if state.is_deleted or len(state.data) > _LARGEST:
            return
        self._states[state.key] = state
        if len(self._states) > _MOST:
            del self._states[next(iter(self._states))]
