"""The rules that hold in this process, read anew when their files change: no request waits, and none is dropped."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from stylobate.clients.limit_plan import LimitPlan
from stylobate.declarations.document import Node, parse_document
from stylobate.declarations.limits_check import check_rules
from stylobate.declarations.limits_file import BANS, FILE, read_bans, read_limits, with_bans
from stylobate.declarations.model import Declarations, Finding, LimitRule, Severity
from stylobate.declarations.report import FileReport
from stylobate.health import Health, Status
from stylobate.logs import get_logger
from stylobate.stopping import end, goes_on

_LOOK_EVERY_S = 1.0
_log = get_logger("app")


class LimitRules:
    """The plan, and who wants to hear of a new one. While it is open (``async with``) the files are looked at every second.

    A file that has mistakes changes nothing: the rules before it hold, and health names what is wrong.

    :param declarations: the modules: their rules, and where their files are.
    :param platform: the platform's own file; None: there is none.
    """

    def __init__(self, declarations: Declarations | None = None, platform: Path | None = None) -> None:
        declarations = declarations or Declarations()
        self._files = [(platform, "")] if platform is not None else []
        self._files += [(module.folder / FILE, module.name) for module in declarations.modules]
        self._modules = {module.name for module in declarations.modules}
        self._actions = declarations.actions.values()
        self._seen = self._look()
        rules, self.findings = self._read()
        """What is wrong with the files as they are now."""
        self.plan = LimitPlan(rules)
        self.on_change: list[Callable[[], None]] = []
        """Called, synchronously, after the rules changed."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Begin to look."""
        self._tasks.append(asyncio.create_task(self._follow(), name="limit-rules"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Look no longer."""
        await end(self._tasks)

    async def health(self) -> Health:
        """Degraded while a file has mistakes."""
        metrics = {"rules": float(len(self.plan.rules))}
        if wrong := errors_of(self.findings):
            return Health(Status.DEGRADED, f"the rules before hold: {'; '.join(map(str, wrong))}", metrics)
        return Health(metrics=metrics)

    def reload(self) -> None:
        """Read the files; their rules hold from now on if nothing is wrong with them."""
        self._take(*self._read())

    def _take(self, rules: list[LimitRule], findings: list[Finding]) -> None:
        self.findings = findings
        if wrong := errors_of(self.findings):
            _log.error("limit_rules_kept", findings=[str(finding) for finding in wrong])
            return
        self.plan = LimitPlan(rules)
        _log.info("limit_rules_changed", rules=[rule.name for rule in self.plan.rules])
        for callback in self.on_change:
            callback()

    async def _follow(self) -> None:
        while goes_on():
            await asyncio.sleep(_LOOK_EVERY_S)
            seen = self._look()
            if seen != self._seen:
                self._seen = seen
                self._take(*await asyncio.to_thread(self._read))  # many rules are checked together: no request waits for that

    def _look(self) -> list[tuple[int, int, int]]:
        return [_state_of(file) for file, _ in self._files]

    def _read(self) -> tuple[list[LimitRule], list[Finding]]:
        findings: list[Finding] = []
        bans = BANS
        platform: tuple[LimitRule, ...] = ()
        of_modules: list[LimitRule] = []
        for file, module in self._files:
            if module and not file.exists():
                continue
            report = FileReport(str(file), findings)
            node = _document(file, report)
            if node is not None and module:
                of_modules += read_limits(node, report, module)
            elif node is not None:
                platform, bans = read_limits(node, report), read_bans(node, report)
        findings += check_rules(of_modules, self._actions, platform, self._modules)
        own = (action.limit_rule for action in self._actions if action.limit_rule is not None)
        return [with_bans(rule, bans) for rule in (*platform, *of_modules, *own)], findings


def _document(file: Path, report: FileReport) -> Node | None:
    try:
        return parse_document(file.read_bytes(), report)
    except OSError as error:
        report.error(0, f"cannot be read: {error.strerror}")
        return None


def errors_of(findings: Sequence[Finding]) -> list[Finding]:
    """Return those that make the rules unusable."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def _state_of(file: Path) -> tuple[int, int, int]:
    """Return what changes whenever the file does, also where another one is put in its place."""
    try:
        found = file.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)
