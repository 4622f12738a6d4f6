"""Settings of the state service."""

from datetime import timedelta

from stylobate.config import Settings


class StateSettings(Settings):
    """``STYLOBATE_STATE_<FIELD>``."""

    service = "state"

    max_data_bytes: int = 262_144
    """The longest data of an object, as JSON text: an object, not a file."""
    hook_timeout: timedelta = timedelta(milliseconds=200)
    """How long a before-hook may take."""
