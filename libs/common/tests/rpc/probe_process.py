"""A process that serves the probe on a free port: killed or frozen by tests."""

import asyncio
import sys
from pathlib import Path

import uvloop
from stylobate.rpc import build_server

sys.path.insert(0, str(Path(__file__).parents[1]))

from rpc.probe import Probe, Users, servicers


async def main() -> None:
    """Serve until killed."""
    server = build_server(servicers(Probe(), Users()), addresses=["127.0.0.1:0"], mux_port=0)
    await server.start()
    print(server.ports["127.0.0.1:0"], flush=True)  # noqa: T201  what the test waits for
    await asyncio.Event().wait()


uvloop.run(main())
