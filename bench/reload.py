"""P10: how long it takes from saving a module until its new code answers, beside `uvicorn --reload` in the same minutes."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

from stylobate.testing.ports import free_ports

from bench.processes import HOST, running, wait_for
from bench.report import Report, Target
from bench.servers import platform

_MODULE = """from stylobate.modules import ActionContext, BaseModule


class SavedModule(BaseModule):
    async def version(self, ctx: ActionContext) -> int:
        return {version}
"""
_DECLARED = {
    "module.yaml": 'name: saved\nversion: "1.0.0"\ndescription: Tells which text of it runs.\n',
    "actions.yaml": "actions:\n  saved.version: {handler: version, summary: Tell it, access: public, route: GET /version}\n",
}
_FASTAPI = """from fastapi import FastAPI

application = FastAPI()


@application.get("/version")
async def version() -> int:
    return {version}
"""
_WITHIN_S = 30.0
_SETTLED_S = 1.0
"""Between an answer of new code and the next save, so that nothing of the restart is left."""


class _Contender:
    """A file that is saved, and a server that shows what of it runs."""

    def __init__(self, port: int, file: Path, text: str) -> None:
        self._port = port
        self._file = file
        self._text = text
        self._version = 0
        self.seconds: list[float] = []

    def save(self) -> None:
        """Save the next version and note how long it took until it answered."""
        self._version += 1
        self._file.write_text(self._text.format(version=self._version), encoding="utf-8")
        began = time.monotonic()
        while _ask(self._port) != str(self._version):
            if time.monotonic() - began > _WITHIN_S:
                raise RuntimeError(f"{self._file} was saved and never ran")
            time.sleep(0.005)
        self.seconds.append(time.monotonic() - began)
        time.sleep(_SETTLED_S)


def measure(rounds: int) -> Report:
    """Save a module and an application of FastAPI in turn, while both are watched by their servers."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        baseline = stack.enter_context(_uvicorn(Path(name) / "fastapi"))
        ours = stack.enter_context(_dev(Path(name) / "stylobate"))
        for contender in (baseline, ours):  # the first save of each fills its caches
            contender.save()
            contender.seconds.clear()
        for _ in range(rounds):
            baseline.save()
            ours.save()
    ratios = [mine / theirs for mine, theirs in zip(ours.seconds, baseline.seconds, strict=True)]
    report = Report("P10", "from saving to the first answer of the new code", ("server", "median s", "rounds"))
    report.rows += [
        ("uvicorn --reload, a FastAPI application", median(baseline.seconds), _text(baseline.seconds)),
        ("stylobate dev, a module", median(ours.seconds), _text(ours.seconds)),
    ]
    report.targets += [Target("stylobate dev against uvicorn --reload", median(ratios), 1.2)]
    report.raw = {"uvicorn_s": baseline.seconds, "stylobate_s": ours.seconds}
    return report


@contextlib.contextmanager
def _uvicorn(folder: Path) -> Iterator[_Contender]:
    folder.mkdir()
    file, port = folder / "saved.py", free_ports(1)
    file.write_text(_FASTAPI.format(version=0), encoding="utf-8")
    command = [sys.executable, "-m", "uvicorn", "saved:application", "--reload", "--host", HOST, "--port", str(port)]
    with running([*command, "--log-level", "warning"], cwd=folder, stderr=subprocess.DEVNULL) as child:
        wait_for(lambda: _ask(port) == "0", child)
        yield _Contender(port, file, _FASTAPI)


@contextlib.contextmanager
def _dev(folder: Path) -> Iterator[_Contender]:
    module = folder / "modules" / "saved"
    module.mkdir(parents=True)
    for name, text in _DECLARED.items():
        (module / name).write_text(text, encoding="utf-8")
    file = module / "module.py"
    file.write_text(_MODULE.format(version=0), encoding="utf-8")
    with platform(folder, command="dev") as (port, _):
        yield _Contender(port, file, _MODULE)


def _ask(port: int) -> str:
    connection = HTTPConnection(HOST, port, timeout=_WITHIN_S)
    try:
        connection.request("GET", "/version")
        return connection.getresponse().read().decode()
    except (OSError, HTTPException):
        return ""
    finally:
        connection.close()


def _text(seconds: list[float]) -> str:
    return " ".join(f"{one:.2f}" for one in seconds)
