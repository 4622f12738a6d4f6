"""The other process of the split baseline: ``python -m bench.baselines.grpc_server ADDRESS``."""

import asyncio
import sys
from typing import Any

import grpc.aio
import orjson
import uvloop


async def _place(request: bytes, _context: Any) -> bytes:
    items = orjson.loads(request)["items"]
    return orjson.dumps({"lines": len(items), "total": 1000 * sum(item["quantity"] for item in items)})


async def serve(address: str) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("bench.Orders", {"Place": grpc.unary_unary_rpc_method_handler(_place)})
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))
