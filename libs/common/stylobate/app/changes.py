"""Settings that change while a service runs, as a secret does that is exchanged in Vault."""

from collections.abc import Awaitable, Callable, Collection, Container
from typing import Any

from stylobate.config import ConfigError, Settings
from stylobate.errors import StylobateError
from stylobate.logs import get_logger

Take = Callable[[Any], Awaitable[None]]
"""Is given all settings as they are now. Raises ConfigError or StylobateError for what cannot be used: tried again soon."""
_log = get_logger("app")


class SettingChanges:
    """What of a class of settings has changed since it was taken, and who takes it.

    :param settings: as the start took them. :param unused: fields that nobody here uses.
    """

    def __init__(self, settings: Settings, unused: Container[str] = ()) -> None:
        self._kind = type(settings)
        self._at_start = settings
        self._taken = {name: getattr(settings, name) for name in self._kind.model_fields if name not in unused}
        self.newest = settings
        """As they were heard of last, whether they are taken or not: for what is opened late, or once more."""
        self._takers: list[tuple[frozenset[str], Take]] = []

    def follow(self, fields: frozenset[str], take: Take) -> None:
        """Have changes of these fields taken; of others it is said that they wait for a restart.

        Who follows late, as a database does that the start did not wait for, hears of what has changed since the start.
        """
        self._taken = {name: getattr(self._at_start, name) for name in fields} | self._taken
        self._takers.append((fields, take))

    def forget(self, prefix: str) -> None:
        """Leave fields that begin so alone: nobody here uses them."""
        self._taken = {name: value for name, value in self._taken.items() if not name.startswith(prefix)}

    async def take(self, fresh: Settings) -> str:
        """Have what changed taken; return what was not, and why, or nothing."""
        self.newest = fresh
        changed = {name for name, value in self._taken.items() if getattr(fresh, name) != value}
        heard, refused, said = set[str](), set[str](), list[str]()
        for fields, take in self._takers:
            if not (mine := fields & changed):
                continue
            heard |= mine
            try:
                await take(fresh)
            except (ConfigError, StylobateError) as error:
                refused |= mine
                names = self._named(mine)
                said.append(f"{names} changed and cannot be used yet: {error}")
                _log.warning("setting_not_taken", settings=names, error=str(error))
        if taken := heard - refused:  # by all who take it: else it is offered to all of them again
            self._taken |= {name: getattr(fresh, name) for name in taken}
            _log.info("setting_taken", settings=self._named(taken))
        said += [f"{self._kind.variable(name)} changed and is taken at the next start" for name in sorted(changed - heard)]
        return "; ".join(dict.fromkeys(said))

    def _named(self, fields: Collection[str]) -> str:
        return ", ".join(sorted(map(self._kind.variable, fields)))
