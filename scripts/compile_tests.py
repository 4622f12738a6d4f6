"""Compiles what tests import, tests as pytest does it with their assertions: else each worker of `make test` does all of it.

They begin at the same time, so none finds what another has compiled: six seconds of a core each in a fresh checkout.
"""

import compileall
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _pytest.assertion import rewrite

_ROOT = Path(__file__).parents[1]
_ROOMS = ("libs", "services", "modules", "tests")
_IS_TEST = re.compile(r"/(test_[^/]*|conftest)\.py$")


def main() -> None:
    """Compile what was not compiled as it is now."""
    rooms = [_ROOT / room for room in _ROOMS]
    tests = [_ROOT / "conftest.py", *(file for room in rooms for file in room.rglob("*.py") if _IS_TEST.search(str(file)))]
    for room in rooms:
        compileall.compile_dir(room, quiet=2, workers=0, rx=_IS_TEST)
    with ProcessPoolExecutor() as pool:
        list(pool.map(_compile, tests, chunksize=8))


def _compile(test: Path) -> None:
    """Do what pytest's import of a test does before it runs it."""
    folder = rewrite.get_cache_dir(test)
    compiled = folder / (test.stem + rewrite.PYC_TAIL)
    if rewrite._read_pyc(test, compiled) is not None:  # noqa: SLF001  no other way to know what pytest will find
        return
    try:
        source_hash, code = rewrite._rewrite_test(test, None)  # type: ignore[arg-type]  # noqa: SLF001  the same
    except SyntaxError:
        return  # the run says it
    folder.mkdir(exist_ok=True)
    fresh = compiled.with_suffix(f".{os.getpid()}")
    with fresh.open("wb") as file:
        rewrite._write_pyc_fp(file, source_hash, code)  # noqa: SLF001  the same
    fresh.replace(compiled)
    if rewrite._read_pyc(test, compiled) is None:  # noqa: SLF001  the same
        raise SystemExit(f"pytest does not take {compiled}")


if __name__ == "__main__":
    main()
