"""Settings of the state service."""

from datetime import timedelta

from pydantic import Field
from stylobate.config import Settings


class StateSettings(Settings):
    """``STYLOBATE_STATE_<FIELD>``."""

    service = "state"

    max_data_bytes: int = Field(default=262_144, ge=2)
    """The longest data of an object, as JSON text: an object, not a file."""
    hook_timeout: timedelta = Field(default=timedelta(milliseconds=200), gt=timedelta(0))
    """How long a before-hook may take."""
    upgrade_timeout: timedelta = Field(default=timedelta(seconds=2), gt=timedelta(0))
    """How long a read waits for the upgrade of data of an older schema version."""
    history_grace: timedelta = Field(default=timedelta(days=7), ge=timedelta(0))
    """How long versions beyond a namespace's ``history`` keep their data all the same: hooks and watches that come back within
    this time miss nothing."""
    cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0)
    """What the copies of objects may take in one process, in bytes, for reads with ``consistency=cached``; 0: none are kept."""
    watches: int = Field(default=4096, ge=1)
    """Watches that may be open in one process: 503 ``STATE_WATCHES_FULL`` beyond it."""
    watches_per_caller: int = Field(default=64, ge=1)
    """Of them by one user, or by one address where nobody is known: 429 ``STATE_TOO_MANY_WATCHES`` beyond it."""
    watch_quiet: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How long a watch goes without a sign of life."""
