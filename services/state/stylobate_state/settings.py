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
