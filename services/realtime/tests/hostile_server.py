"""A node in a process of its own, to be attacked: prints its port and tokens as JSON, and publishes until its input ends."""

import asyncio
import json
import sys

import uvloop
from stylobate_realtime.settings import RealtimeSettings

from .memory_broker import MemoryBroker
from .nodes import serve_node
from .platform import open_platform


async def main() -> None:
    """Serve."""
    async with open_platform() as platform:
        platform.limits = None  # what limits refuse is not this process's burden
        broker = MemoryBroker(platform.bus)
        async with serve_node(platform, RealtimeSettings(), broker, platform.presence, port=0, http="httptools") as node:
            tokens = [platform.auth.token(f"u{number}", session=f"s{number}") for number in range(500)]
            sys.stdout.write(json.dumps({"port": node.port, "tokens": tokens}) + "\n")
            sys.stdout.flush()
            ending = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            number = 0
            while not ending.done():
                number += 1
                await node.publish("news:calm", number)
                await node.publish("chat:busy", "x" * 20_000)
                await asyncio.sleep(0.05)


uvloop.run(main())
