"""Background work: restarted when it ends in whatever way, named while it fails, ended at close."""

import asyncio
from datetime import timedelta

import pytest
from stylobate.app.tasks import SupervisedTasks
from stylobate.health import Status
from stylobate.testing.until import until


class Work:
    """Runs as a test wants; counts its beginnings."""

    def __init__(self, *ends) -> None:
        self._ends = list(ends)
        self.steady = asyncio.Event()

    async def __call__(self) -> None:
        """End as told, then run forever."""
        if self._ends:
            end = self._ends.pop(0)
            if isinstance(end, BaseException):
                raise end
            return
        self.steady.set()
        await asyncio.Event().wait()


async def test_work_is_begun_again_however_it_ended() -> None:
    """By an error, by itself, or cancelled by something it waited for: the work goes on."""
    supervised = SupervisedTasks("test")
    work = Work(RuntimeError("lost"), None, asyncio.CancelledError())
    supervised.start("work", work)
    await asyncio.wait_for(work.steady.wait(), 60)
    health = await supervised.health()
    assert (health.status, health.details) == (Status.DEGRADED, "work: was cancelled from within")
    await supervised.close()


async def test_work_that_fails_no_more_is_well_again() -> None:
    """Health forgets a failure once the work has run for a while since."""
    supervised = SupervisedTasks("test", well_after=timedelta(0))
    work = Work(RuntimeError("lost"))
    supervised.start("work", work)
    await asyncio.wait_for(work.steady.wait(), 60)
    await until(supervised.health, lambda found: found.status is Status.HEALTHY, within_s=60)
    await supervised.close()


async def test_closing_ends_all_work() -> None:
    """Nothing runs on, and closing twice is fine; a name stands once."""
    supervised = SupervisedTasks("test")
    work = Work()
    supervised.start("work", work)
    with pytest.raises(ValueError, match="work runs already"):
        supervised.start("work", work)
    await work.steady.wait()
    await supervised.close()
    await supervised.close()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "test.work"]
