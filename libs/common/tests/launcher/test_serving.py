"""A process runs until it is asked to stop, and says what went wrong."""

import asyncio
import os
import signal

import pytest
from structlog.testing import capture_logs
from stylobate.launcher.process import run_to_end, until_stopped


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

    await asyncio.wait_for(until_stopped(work), 60)
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
        await asyncio.wait_for(until_stopped(work), 60)


@pytest.mark.parametrize("how", ["exit", "interrupt", "callback", "stop"])
def test_what_tries_to_end_the_process_ends_only_itself(how) -> None:
    """A task or a callback that raises what ends programs, or stops the loop, leaves a line; whoever waits for it hears of it."""
    told = []

    async def end() -> None:
        raise (KeyboardInterrupt if how == "interrupt" else SystemExit)(3)

    def call_back() -> None:
        raise SystemExit(3)

    async def work() -> None:
        loop = asyncio.get_running_loop()
        if how == "stop":
            loop.stop()
        elif how == "callback":
            loop.call_soon(call_back)
        else:
            with pytest.raises((SystemExit, KeyboardInterrupt)):
                await asyncio.create_task(end())
        for _ in range(3):
            await asyncio.sleep(0)
        told.append("went on")

    with capture_logs() as logs:
        run_to_end(lambda: until_stopped(work))
    assert told == ["went on"]
    assert [entry["event"] for entry in logs] == ["tried_to_end_the_process"]


def test_its_own_end_is_an_end() -> None:
    """What the work itself raises comes out."""

    async def work() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        run_to_end(work)
