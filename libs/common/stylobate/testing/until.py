"""The one way in which tests wait for what they cannot be told of."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

PATIENCE_S = 60.0
_PAUSE_S = 0.005


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
                asked: Awaitable[Any] | Any = ask()
                answer = await asked if isawaitable(asked) else asked
                if that(answer):
                    return answer
                await asyncio.sleep(_PAUSE_S)
    except TimeoutError:
        if not patience.expired():
            raise
        raise AssertionError(f"not within {within_s} s; the last answer was {answer!r}"[:1000]) from None
