"""How tests wait for what they cannot be told of: in a coroutine, and in a thread for what other processes bring about."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from inspect import isawaitable
from time import monotonic, sleep
from typing import Any

PATIENCE_S = 60.0
_PAUSE_S = 0.005
_PAUSE_OF_A_THREAD_S = 0.05
"""At least, and as long as the asking took: other processes answer it on the same cores."""
_LONGEST_PAUSE_S = 0.1
"""In a coroutine, where the asking may have been waiting itself."""


async def until(ask: Callable[[], Any], that: Callable[[Any], object] = bool, *, within_s: float = PATIENCE_S) -> Any:
    """Ask again and again until the answer is as it should be; return it then.

    :param ask: returns the answer, or an awaitable of it.
    :param that: whether an answer is the one that is waited for; none given: one that is true.
    :raises AssertionError: it was not within the time; the last answer is in the text.
    """
    answer: Any = "no answer"
    try:
        async with asyncio.timeout(within_s) as patience:
            while True:
                began = monotonic()
                asked: Awaitable[Any] | Any = ask()
                answer = await asked if isawaitable(asked) else asked
                if that(answer):
                    return answer
                await asyncio.sleep(min(max(_PAUSE_S, monotonic() - began), _LONGEST_PAUSE_S))
    except TimeoutError:
        if not patience.expired():
            raise
        raise AssertionError(f"not within {within_s} s; the last answer was {answer!r}"[:1000]) from None


def wait_until(ask: Callable[[], object], within: timedelta) -> bool:
    """Ask until the answer is true; return whether it was in time."""
    deadline = monotonic() + within.total_seconds()
    while True:
        began = monotonic()
        if ask():
            return True
        if monotonic() > deadline:
            return False
        sleep(max(_PAUSE_OF_A_THREAD_S, monotonic() - began))
