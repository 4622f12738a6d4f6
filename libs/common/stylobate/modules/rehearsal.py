"""A rehearsal: modules checked and started once, in a process of their own, and ended again.

What a module does when it is imported or initialized can end a process or never end itself, so it happens where nobody minds.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from select import select
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any

import msgspec

from stylobate.config import Sources
from stylobate.declarations import load_declarations
from stylobate.declarations.model import Finding, Severity
from stylobate.declarations.sources import packages_of
from stylobate.modules.check import check_modules, in_order, known_types
from stylobate.modules.coded import with_code
from stylobate.modules.containment import contain
from stylobate.modules.importing import code_finding
from stylobate.modules.loaded import LoadedModule
from stylobate.vault import with_vault

_IMPORT_WITHIN_S = 60.0
_DISPOSE_WITHIN_S = 5.0


class _Line(msgspec.Struct):
    """What the rehearsing process says: what it turns to, or all that it found."""

    file: str = ""
    """Whose code runs next."""
    doing: str = ""
    findings: list[Finding] | None = None


def rehearse(modules: str, start_within: timedelta, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Return every finding of every module, what its start finds included.

    :param modules: the setting ``modules``.
    :param start_within: how long a module may take to initialize.
    :param environ: where settings come from; None: this process's environment.
    """
    reading, writing = os.pipe()
    command = [sys.executable, "-m", __name__, str(writing), str(start_within.total_seconds()), modules]
    with Popen(command, stdin=DEVNULL, stdout=sys.stderr, pass_fds=[writing], env=environ) as process:  # noqa: S603  our own command
        os.close(writing)
        last = _Line(doing="loads")
        try:
            for last in _lines(reading, start_within.total_seconds() + _DISPOSE_WITHIN_S + _IMPORT_WITHIN_S):
                if last.findings is not None:
                    return last.findings
            how = f"ended with code {process.wait(_DISPOSE_WITHIN_S)}"
        except TimeoutExpired:
            how = "did not come to an end"
        finally:
            os.close(reading)
            process.kill()
    problem = f"the process that {last.doing} it {how}"
    return in_order([*load_declarations(modules).findings, Finding(last.file or modules, 1, problem)])


def _lines(reading: int, patience_s: float) -> Iterator[_Line]:
    """Yield what the process says, until it ends or says nothing for too long."""
    buffer = b""
    while select([reading], [], [], patience_s)[0]:
        if not (data := os.read(reading, 65_536)):
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield from (msgspec.json.decode(line, type=_Line) for line in lines)


# in the process of its own


def _main(writing: int, start_within_s: float, modules: str) -> None:
    def say(line: _Line) -> None:
        os.write(writing, msgspec.json.encode(line) + b"\n")

    say(_Line(str(Path(modules)), "imports"))
    sources, _ = with_vault(Sources.of_process())
    findings = check_modules(modules, sources, on_import=lambda file: say(_Line(file, "imports")))
    failed = {Path(finding.file).parent for finding in findings if finding.severity is Severity.ERROR}
    findings += asyncio.run(_started(modules, failed, start_within_s, sources, say))
    say(_Line(findings=in_order(findings)))
    os._exit(0)  # threads and tasks that modules left behind are not waited for


async def _started(
    modules: str, failed: set[Path], within_s: float, sources: Sources, say: Callable[[_Line], None]
) -> list[Finding]:
    """Start the modules in their order and end them in reverse; return what they raised."""
    declarations = load_declarations(modules)
    types = known_types(declarations)
    findings: list[Finding] = []
    started: list[LoadedModule] = []
    out = {declaration.name for declaration in declarations.modules if declaration.folder in failed}
    for coded in with_code(declarations, packages_of(modules), also_broken=False):
        declaration = coded.declaration
        if declaration.name in out or out.intersection(declaration.dependencies):
            out.add(declaration.name)
            continue
        module, file = LoadedModule.load(coded, sources, types), declaration.folder / "module.py"
        say(_Line(str(file), "initializes"))
        started.append(module)
        if (finding := await _tried(module.instance.initialize, within_s, file, "does not initialize")) is not None:
            findings.append(finding)
            out.add(declaration.name)
    for module in reversed(started):
        file = module.declaration.folder / "module.py"
        say(_Line(str(file), "disposes of"))
        if (finding := await _tried(module.instance.dispose, _DISPOSE_WITHIN_S, file, "does not dispose")) is not None:
            findings.append(replace(finding, severity=Severity.WARNING))  # it runs all the same
    return findings


async def _tried(code: Callable[[], Awaitable[Any]], within_s: float, file: Path, problem: str) -> Finding | None:
    async def run() -> Exception | None:
        try:
            await code()
        except BaseException as error:  # noqa: BLE001  it is the answer
            return contain(error)
        return None

    task = asyncio.create_task(run())
    await asyncio.wait({task}, timeout=within_s)
    if not task.done():
        return Finding(str(file), 1, f"{problem} within {within_s:g} s")
    error = task.result()
    return code_finding(error, file, problem) if error is not None else None


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])
