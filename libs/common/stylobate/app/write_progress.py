"""Whether a client takes what it is sent."""

from stylobate.app.http_bounds import SLOWEST
from stylobate.app.joined_writes import JoinedWrites


class WriteProgress:
    """Looked at now and then; costs nothing in between."""

    __slots__ = ("_limit_s", "_mark", "_since", "_transport")

    def __init__(self, transport: JoinedWrites, limit_s: float) -> None:
        self._transport = transport
        self._limit_s = limit_s
        self._since = -1.0
        self._mark = 0

    @property
    def unsent(self) -> int:
        """Bytes that wait in this process."""
        size: int = self._transport.get_write_buffer_size()
        return size

    @property
    def taken(self) -> int:
        """Bytes that have left this process so far."""
        return self._transport.written - self.unsent

    def is_stuck(self, now: float) -> bool:
        """Return whether too little was taken over the whole deadline."""
        if not self.unsent:
            self._since = -1.0
            return False
        taken = self.taken
        if self._since < 0:
            self._since, self._mark = now, taken
        elif now - self._since > self._limit_s:
            if taken - self._mark < SLOWEST * self._limit_s:
                return True
            self._since, self._mark = now, taken
        return False
