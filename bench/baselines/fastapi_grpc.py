"""The same endpoint asking another process over one bare ``grpc.aio`` call: the least that a plain split can cost."""

import os
from typing import Any

import grpc.aio
from fastapi import FastAPI, Response

from bench.baselines.plain_fastapi import Order

application = FastAPI()
_TARGET = os.environ.get("BENCH_GRPC", "")
_made: dict[str, Any] = {}


@application.post("/orders")
async def place(order: Order) -> Response:
    """Let the other process price the order."""
    if "call" not in _made:
        _made["call"] = grpc.aio.insecure_channel(_TARGET).unary_unary("/bench.Orders/Place")
    return Response(await _made["call"](order.model_dump_json().encode()), media_type="application/json")
