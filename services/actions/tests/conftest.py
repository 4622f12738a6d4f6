"""Modules written to disk by tests, and an action manager over ports that remember what they were asked."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import pytest_asyncio
from stylobate.clients.action_limits import counted
from stylobate.clients.limit_outcome import AppliedLimit, LimitOutcome, RateLimitedError
from stylobate.config import Sources
from stylobate.declarations import Declarations, load_declarations
from stylobate.declarations.model import RateLimit
from stylobate.errors import StylobateError
from stylobate.identity import Principal, PrincipalKind
from stylobate.identity.resources import NOTHING, Granted
from stylobate.rpc.call import Call
from stylobate_actions.action_discovery_manager import ActionDiscoveryManager
from stylobate_actions.model import Discovery
from stylobate_actions.runner import Runner

ALICE = Call(request_id="r-1", authorization="Bearer alice", principal=Principal(PrincipalKind.USER, "alice"))


@dataclass
class Ports:
    """What the manager asks of others, in the order of asking."""

    asked: list[str] = field(default_factory=list)
    noted: list[tuple[str, str, str]] = field(default_factory=list)
    limit_left: int = 1000
    permissions: frozenset[str] = frozenset({"things:do"})

    async def allowed(self, principal: Principal, permission: str, resource: str = "") -> bool:
        """Decide by a set of permissions that everybody known holds."""
        self.asked.append(f"permission {permission}")
        return not principal.is_anonymous and permission in self.permissions

    async def granted(self, principal: Principal, permission: str, under: str = "") -> Granted:
        """Nothing, to nobody."""
        return NOTHING

    def text(self, action: str, limit: RateLimit | None) -> str:
        """Name the limit."""
        return limit.text if limit is not None else ""

    async def charge(self, action: str, limit: RateLimit, principal: Principal, address: str) -> LimitOutcome:
        """Count down from `limit_left`."""
        tenant, subject = principal.tenant, counted(principal, address)
        self.asked.append(f"limit {action} {tenant} {subject}")
        if self.limit_left <= 0:
            raise RateLimitedError
        self.limit_left -= 1
        return LimitOutcome.of(1, (AppliedLimit(action, limit.limit, 60),), remaining=self.limit_left, reset_ms=1000)

    async def note(self, action: str, caller: Call, error: StylobateError | None) -> None:
        """Remember."""
        self.noted.append((action, caller.principal.subject, "" if error is None else error.reason))


@pytest.fixture
def ports() -> Ports:
    """Give ports that remember."""
    return Ports()


WriteModule = Callable[..., Path]


@pytest.fixture
def write_module(tmp_path: Path) -> WriteModule:
    """Give what writes a module's files and returns the folder of modules."""

    def write(name: str, code: str = "", **files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "module.yaml").write_text(dedent(files.pop("module", f'name: {name}\nversion: "1.0.0"\n')))
        for file, text in files.items():
            (folder / f"{file}.yaml").write_text(dedent(text))
        if code:
            (folder / "module.py").write_text(dedent(code))
        return tmp_path

    return write


Discover = Callable[[Path], Any]


@pytest_asyncio.fixture
async def discover() -> AsyncIterator[Discover]:
    """Give what discovers a folder of modules."""

    async def run(modules: Path) -> Discovery:
        declarations: Declarations = load_declarations(str(modules))
        return await ActionDiscoveryManager(Sources({}, ()), {}).discover(declarations)

    yield run


@pytest_asyncio.fixture
async def runner() -> AsyncIterator[Runner]:
    """Give what runs the code of modules."""
    async with Runner.open() as opened:
        yield opened
