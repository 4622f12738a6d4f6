"""Load from wrk, where it is installed: a client in C that a Python server cannot keep busy.

wrk (https://github.com/wg/wrk, Debian's package ``wrk``) sends the requests in turn on each of its connections.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson

_SCRIPT = """
local requests, at = {%s}, 0
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{"answered": %%d, "refused": %%d, "seconds": %%.6f, "p50_ms": %%.4f, "p99_ms": %%.4f}\\n',
    summary.requests - errors.status, errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


def is_installed() -> bool:
    """Return whether wrk is on the path."""
    return shutil.which("wrk") is not None


def run(host: str, port: int, requests: list[str], seconds: int, connections: int) -> dict[str, Any]:
    """Keep the connections busy and return what came of it, as `bench.load` does. Raises CalledProcessError."""
    texts = ",".join(orjson.dumps(text).decode() for text in requests)  # ASCII: JSON's escapes are Lua's
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        script.write_text(_SCRIPT % texts)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=30s", "--latency"]
        command += ["-s", str(script), f"http://{host}:{port}"]
        output = subprocess.run(command, check=True, capture_output=True).stdout
    result: dict[str, Any] = orjson.loads(output.strip().rpartition(b"\n")[2])
    return result | {"first_refusal": output.decode(errors="replace")}
