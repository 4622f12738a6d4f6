"""A process that serves the probe on a free port: run by test_breaker.py, then frozen."""

import asyncio
import sys
from pathlib import Path

from stylobate.rpc import build_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from rpc.probe import Probe, Users, servicers


async def main() -> None:
    """Serve until killed."""
    server = build_server(servicers(Probe(), Users()), addresses=["127.0.0.1:0"])
    await server.start()
    print(server.ports["127.0.0.1:0"], flush=True)  # noqa: T201  what the test waits for
    await asyncio.Event().wait()


asyncio.run(main())
