"""A process runs until it is asked to stop, and says what went wrong."""

import asyncio
import os
import signal

import pytest
from stylobate.launcher.serving import until_stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_work_cleanly(number) -> None:
    """The work is cancelled, and its end is waited for."""
    told = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            told.append("closed")

    await asyncio.wait_for(until_stopped(work), 5)
    assert told == ["closed"]


async def test_an_error_of_the_work_comes_out() -> None:
    """Nobody asked it to stop: it failed."""

    async def work() -> None:
        raise RuntimeError("lost")

    with pytest.raises(RuntimeError, match="lost"):
        await until_stopped(work)


async def test_an_error_while_stopping_is_said(caplog) -> None:
    """The process ends all the same; what went wrong stands in the log."""

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("cannot close")

    with caplog.at_level("ERROR"):
        await asyncio.wait_for(until_stopped(work), 5)
