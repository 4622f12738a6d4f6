"""Settings of the actions service."""

from collections.abc import Mapping
from datetime import timedelta
from typing import ClassVar

from pydantic import Field
from stylobate.config import Settings, secret
from stylobate.value_kinds import DatabaseUrl, LongSecret, OnUnreachable


class ActionsSettings(Settings):
    """``STYLOBATE_ACTIONS_<FIELD>``; durations in seconds."""

    service: ClassVar[str] = "actions"

    hook_timeout: timedelta = Field(default=timedelta(seconds=30), gt=timedelta(0))
    """How long a hook may work on one event."""
    hook_outage_limit: timedelta = Field(default=timedelta(hours=24), gt=timedelta(0))
    """How long an event is tried whose hook needs what is unavailable; then it is a dead letter."""
    before_hook_timeout: timedelta = Field(default=timedelta(milliseconds=200), gt=timedelta(0))
    """How long a before-hook may hold up the change that it looks at; the caller's deadline bounds it too."""
    upgrade_timeout: timedelta = Field(default=timedelta(seconds=2), gt=timedelta(0))
    """How long the upgrade of a page of state objects may take; the caller's deadline bounds it too."""
    limits_on_unreachable: OnUnreachable = OnUnreachable.LOCAL
    """What holds for actions' limits while the ratelimit service does not answer. local: each process counts by itself; open:
    every call passes; closed: every call is refused, 503."""
    module_start_timeout: timedelta = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How long a module may take to initialize before it is left out."""
    blocked_loop_threshold: timedelta = Field(default=timedelta(milliseconds=500), gt=timedelta(0))
    """How long module code may keep the event loop from turning before it is named in the log."""
    module_databases: Mapping[str, DatabaseUrl] = {}
    """Databases of modules that keep their own data apart from `STYLOBATE_DATABASE_URL`: `shop=mongodb://…` or
    `shop=postgresql://…`, several with white space between."""

    encryption_key: LongSecret = secret(required=False)
    """Encrypts the answers that are kept for a day under idempotency keys. At least 32 characters of secret text, the same for
    every actions process. Empty: these answers are stored unencrypted."""
    encryption_key_before: LongSecret = secret(generate=False)
    """The one before it, for a day after it was exchanged: what was kept with that is known."""
