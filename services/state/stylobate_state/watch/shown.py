"""Where a snapshot and the log behind it overlap: versions that were shown and whose event may come yet."""

from collections.abc import Sequence

from stylobate.outbox import EventLog, Position, partition_of

from stylobate_state.model import StateRecord
from stylobate_state.watch.told import Happened


class Shown:
    """Remembers such versions until their events come by; those are the few that changed while the snapshot was taken."""

    def __init__(self, log: EventLog, tenant: str, namespace: str) -> None:
        self._log = log
        self._tenant = tenant
        self._namespace = namespace
        self._versions: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._versions)

    def forget(self) -> None:
        """Begin another snapshot."""
        self._versions = {}

    async def note(self, states: Sequence[StateRecord], position: Position) -> None:
        """Keep those of a snapshot's objects whose events had no number before the position."""
        if not states:
            return
        versions = {state.key.key: state.version for state in states}
        numbers = await self._log.numbers(self._tenant, self._namespace, versions)
        for key, version in versions.items():
            number = numbers.get(key)
            if number is None or number > position.numbers[partition_of(self._tenant, key)]:
                self._versions[key] = version

    def covers(self, happened: Happened) -> bool:
        """Return whether the snapshot has shown what an event tells, or something later."""
        key, version = happened.key.key, happened.entry.version
        shown = self._versions.get(key)
        if shown is None:
            return False
        if version >= shown:
            del self._versions[key]
        return version <= shown
