"""Changes ephemeral objects together, in a process of its own, to be killed: ``python ephemeral_writer.py URL``."""

import asyncio
import sys
from datetime import timedelta

from stylobate.ids import new_id
from stylobate.redis import RedisManager
from stylobate_state.model import Change, StateKey, Write
from stylobate_state.store.redis import RedisStateStore

KEYS = [StateKey("default", "pads", f"k{number:02}") for number in range(40)]
TTL = timedelta(minutes=5)


async def change(url: str) -> None:
    """Change all objects together, again and again, two batches at a time; each change says its number in all of them."""
    async with RedisManager.open(url) as redis:
        store = RedisStateStore(redis, "pads", TTL)
        number = 0
        while True:
            batches = []
            for group in (1, 2):
                number += 1
                data = f'{{"number": {number}, "fill": "{"x" * 2000}"}}'.encode()
                batches.append([
                    Write(
                        key=key, change=Change.UPDATED, expected=None, owner="ada", status=None, data=data, actor="ada",
                        event_id=new_id(), group=group,
                    )
                    for key in KEYS
                ])  # fmt: skip
            await asyncio.gather(*map(store.write, batches))


if __name__ == "__main__":
    asyncio.run(change(sys.argv[1]))
