"""The realtime client of the getting-started page, run as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "getting-started.md").read_text(encoding="utf-8")
PROGRAM = next(block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "import centrifuge" in block)


def watch(folder: Path, address: str, token: str) -> "subprocess.CompletedProcess[str]":
    """Run the program against an address."""
    (folder / "watch.py").write_text(PROGRAM.replace("127.0.0.1:8080", address))
    command = [sys.executable, "watch.py", token, "a-note"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("place", "token", "said"),
    [("wrong", "real", "not connected"), ("right", "junk", "not connected"), ("right", "real", "refused: ")],
)
def test_what_goes_wrong_is_one_line(platform, person, tmp_path, place, token, said) -> None:
    """A wrong port, a bad token, a note that is not there: one line on standard error, exit code 1."""
    address = platform.gateway.removeprefix("http://") if place == "right" else "127.0.0.1:1"
    done = watch(tmp_path, address, person().token if token == "real" else token)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr
