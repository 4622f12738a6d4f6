"""The class that a module subclasses, and its life.

``configure`` (settings are there) -> ``initialize`` (dependencies are initialized) -> handlers and hooks run -> ``dispose``.
Modules are initialized in dependency order and disposed in reverse; one that fails is reported and left out.
"""

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import SecretStr

from stylobate.health import Health
from stylobate.logs import get_logger

if TYPE_CHECKING:
    from stylobate.modules.context import HookContext


class BaseModule:
    """Base of every module's class. One instance serves a process; handlers and hooks are its methods.

    A handler is ``async def name(self, ctx: ActionContext, input) -> output``; its annotations may be pydantic models,
    dataclasses or TypedDicts, and stand in for schemas that ``actions.yaml`` leaves out.
    """

    def __init__(self, name: str, settings: Mapping[str, Any] | None = None) -> None:
        """Keep what every module has; do real work in :meth:`initialize`."""
        self.name = name
        """As declared in ``module.yaml``."""
        self.settings: Mapping[str, Any] = MappingProxyType(dict(settings or {}))
        """Values of the declared settings, checked against their schema."""
        self.secrets: Mapping[str, SecretStr] = {}
        """The declared secrets, from :meth:`configure` on; see ``ctx.secret``."""
        self.log: structlog.stdlib.BoundLogger = get_logger("app").bind(module=name)

    def configure(self) -> None:
        """Look at the settings and prepare; no waiting here."""

    async def initialize(self) -> None:
        """Open what the module needs. Raising leaves the module out, with everything that depends on it."""

    async def dispose(self) -> None:
        """Close what :meth:`initialize` opened. Called once, also when it failed half-way."""

    async def delete_user(self, ctx: "HookContext", user_id: str) -> None:
        """Forget a person whose account is deleted: what the module keeps outside of namespaces.

        Called in the service's own name, again until it returns, and again after that: let it be no harm. An error is tried
        again; the deletion is not done before every module has returned.
        """

    async def export_user(self, ctx: "HookContext", user_id: str) -> AsyncIterator[Any]:  # noqa: ARG002  for who overrides it
        """Give out what the module keeps of a person outside of namespaces: yield objects, one record each.

        Written as ``async def`` with ``yield``; a record is whatever has the JSON form of an object. Called in the service's own
        name, for the person or for who looks after accounts: leave out what is another person's. A hundred records may take as
        long as a hook. An error ends the module's section of the export, which then says so with the error's reason.
        """
        return
        yield

    async def health_check(self) -> Health:
        """Say how the module is; answered quickly."""
        return Health()
