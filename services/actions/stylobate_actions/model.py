"""What the managers of this service answer with, as plain data."""

from dataclasses import dataclass
from typing import NamedTuple

from stylobate.clients.limit_outcome import LimitOutcome
from stylobate.declarations.model import Finding, ModuleDeclaration
from stylobate.health import Status
from stylobate.modules.loaded import LoadedModule


class ActionReply(NamedTuple):
    """What an action answered."""

    output: bytes
    """JSON."""
    limit: LimitOutcome | None = None
    """How the action's own limit stands; None when it declares none or the limiter could not be asked."""
    is_replayed: bool = False
    """Whether this is the answer of an earlier call with the same idempotency key."""


@dataclass(frozen=True, slots=True)
class ModuleFailure:
    """A module that is not running."""

    name: str
    detail: str
    """Why, in words that may leave the process."""
    declaration: ModuleDeclaration | None = None
    """None when already its declarations could not be read."""
    findings: tuple[Finding, ...] = ()
    """What is wrong with it, for operators."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """The modules of a deployment: those that can run, in dependency order, and those that cannot."""

    loaded: tuple[LoadedModule, ...]
    failures: tuple[ModuleFailure, ...]


@dataclass(frozen=True, slots=True)
class ModuleStatus:
    """A module and how it is."""

    name: str
    status: Status
    version: str = ""
    description: str = ""
    detail: str = ""
    dependencies: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
