"""Tells the call how long it has. The transport ends it when the time is up; this makes calls that it makes in turn fit in."""

import asyncio

from stylobate.rpc.call import current_call
from stylobate.rpc.method import Behaviour, Context, Method


class DeadlineInterceptor:
    """Sets :attr:`Call.deadline` from the time that the caller gave."""

    def bind(self, inner: Behaviour, _: Method, /) -> Behaviour:
        """Return the behaviour that knows its deadline."""
        clock = asyncio.get_running_loop().time

        async def behaviour(data: bytes, context: Context) -> bytes:
            remaining = context.time_remaining()
            call = current_call.get()
            if remaining is not None and call is not None:
                call.deadline = clock() + remaining
            return await inner(data, context)

        return behaviour
