"""Natural batching: what leaves together, what a failure does, and that keys never overlap."""

import asyncio
from collections.abc import Sequence

import pytest
from stylobate.batching import Batcher
from stylobate.testing.until import until


class Recorder:
    """A flush that notes its batches, waits at a gate and answers with the double."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.bad: set[int] = set()

    async def flush(self, items: list[int]) -> Sequence[int | Exception]:
        """Answer each item with its double, unless one of them is bad."""
        self.batches.append(list(items))
        await self.gate.wait()
        if self.bad & set(items):
            raise ValueError(f"bad among {items}")
        return [item * 2 for item in items]


async def test_arrivals_of_one_turn_leave_together() -> None:
    """Submits of one loop turn make one batch, and each gets its own answer."""
    recorder = Recorder()
    async with Batcher(recorder.flush) as batcher:
        answers = await asyncio.gather(*(batcher.submit(number) for number in range(5)))
    assert answers == [0, 2, 4, 6, 8]
    assert recorder.batches == [[0, 1, 2, 3, 4]]


async def test_what_arrives_meanwhile_leaves_in_the_next_batch() -> None:
    """With one batch under way, later items wait and leave together when it returns."""
    recorder = Recorder()
    recorder.gate.clear()
    async with Batcher(recorder.flush, in_flight=1) as batcher:
        first = batcher.submit(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        later = [batcher.submit(number) for number in (2, 3)]
        await asyncio.sleep(0)
        assert recorder.batches == [[1]]
        recorder.gate.set()
        assert await first == 2
        assert await asyncio.gather(*later) == [4, 6]
    assert recorder.batches == [[1], [2, 3]]


async def test_a_bad_item_never_fails_its_neighbours() -> None:
    """A batch that raises is tried again item by item: only the bad one's caller sees the error."""
    recorder = Recorder()
    recorder.bad = {2}
    async with Batcher(recorder.flush) as batcher:
        answers = await asyncio.gather(*(batcher.submit(number) for number in (1, 2, 3)), return_exceptions=True)
    assert answers[0] == 2
    assert answers[2] == 6
    assert isinstance(answers[1], ValueError)
    assert recorder.batches == [[1, 2, 3], [1], [2], [3]]


async def test_batches_respect_their_size() -> None:
    """No batch is larger than the maximum."""
    recorder = Recorder()
    async with Batcher(recorder.flush, max_size=3) as batcher:
        await asyncio.gather(*(batcher.submit(number) for number in range(8)))
    assert [len(batch) for batch in recorder.batches] == [3, 3, 2]


async def test_a_key_stands_once_among_batches_under_way() -> None:
    """A second item of a key waits for the first, in order, while other keys overtake it."""
    recorder = Recorder()
    recorder.gate.clear()
    async with Batcher(recorder.flush, keys=lambda item: (item % 10,)) as batcher:
        futures = [batcher.submit(item) for item in (1, 11, 2, 21)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert recorder.batches == [[1, 2]]
        recorder.gate.set()
        assert await asyncio.gather(*futures) == [2, 22, 4, 42]
    assert recorder.batches == [[1, 2], [11], [21]]


async def test_an_item_of_several_keys_waits_for_each_and_is_overtaken_by_others() -> None:
    """It goes when it is the first in all of its lines; what came behind it at one of its keys waits for it."""
    batches: list[list[str]] = []
    gate = asyncio.Event()

    async def flush(items: list[str]) -> list[str]:
        batches.append(items)
        await gate.wait()
        return items

    async with Batcher[str, str](flush, keys=list, max_size=4) as batcher:
        answers = [batcher.submit(item) for item in ("a", "b", "bca", "c", "d", "efg", "dhi", "j")]
        answers[3].cancel()
        for _ in range(3):  # the second batch leaves a turn after the first
            await asyncio.sleep(0)
        assert batches == [["a", "b", "d", "efg"], ["j"]]  # one more key than four: what is begun is taken whole
        gate.set()
        await asyncio.gather(*answers, return_exceptions=True)
    assert batches[2:] == [["bca"], ["dhi"]] or batches[2:] == [["bca", "dhi"]]


async def test_closing_finishes_what_waits_and_refuses_more() -> None:
    """Leaving the batcher loses nothing; a submit afterwards is an error."""
    recorder = Recorder()
    batcher = Batcher(recorder.flush, max_size=1, in_flight=1)
    async with batcher:
        futures = [batcher.submit(number) for number in range(3)]
    assert [future.result() for future in futures] == [0, 2, 4]
    with pytest.raises(RuntimeError):
        batcher.submit(4)


async def test_a_caller_that_went_away_costs_nobody_else() -> None:
    """A cancelled item is left out of its batch; the others are answered."""
    recorder = Recorder()
    async with Batcher(recorder.flush) as batcher:
        gone, stays = batcher.submit(1), batcher.submit(2)
        gone.cancel()
        assert await stays == 4
    assert recorder.batches == [[2]]


async def test_too_few_answers_fail_loudly() -> None:
    """A flush that answers for fewer items than it got is a defect that every caller sees, not a hang."""

    async def flush(_items: list[int]) -> Sequence[int]:
        return []

    async with Batcher(flush) as batcher:
        with pytest.raises(RuntimeError, match="0 answers"):
            await batcher.submit(1)


class Counted(str):
    """A key that counts how often it is looked up."""

    looked_up = 0
    __slots__ = ()

    def __hash__(self) -> int:
        """Count."""
        Counted.looked_up += 1
        return super().__hash__()


async def test_a_long_line_of_one_key_costs_no_more_for_each_item() -> None:
    """The work of queueing and taking grows with the items, not with their square: a hot key slows nobody down."""

    async def looks(count: int) -> float:
        Counted.looked_up = 0

        async def flush(items: list[Counted]) -> list[str]:
            return [str(item) for item in items]

        async with Batcher[Counted, str](flush, keys=lambda item: (item,)) as batcher:
            answers = [batcher.submit(Counted("hot")) for _ in range(count)]
            await asyncio.gather(*answers)
        return Counted.looked_up / count

    few, many = await looks(100), await looks(5_000)
    assert many <= few * 1.5
    assert many < 20


async def test_two_batches_do_not_leave_together() -> None:
    """What is sent in one turn is one write, and would be answered in one: the second batch begins a turn later."""
    loop = asyncio.get_running_loop()
    out: list[list[str]] = []
    writes: list[list[list[str]]] = []

    def write() -> None:
        writes.append(list(out))
        out.clear()

    async def flush(batch: list[str]) -> list[str]:
        if not out:
            loop.call_soon(write)
        out.append(batch)
        return batch

    async with Batcher(flush, max_size=2, in_flight=2) as batcher:
        await asyncio.gather(*map(batcher.submit, "abcd"))
    assert writes == [[["a", "b"]], [["c", "d"]]]


async def test_of_many_that_wait_half_leave_first() -> None:
    """Two batches are under way from then on, whoever comes back at once; a few leave together all the same."""
    recorder = Recorder()
    recorder.gate.clear()
    async with Batcher(recorder.flush, divides=True, keys=lambda item: (item,)) as batcher:
        many = asyncio.gather(*map(batcher.submit, range(64)))
        await until(lambda: len(recorder.batches) == 2)
        recorder.gate.set()
        assert await many == [2 * number for number in range(64)]
        await asyncio.gather(*map(batcher.submit, range(20)))
    assert [len(batch) for batch in recorder.batches] == [32, 32, 20]


async def test_half_of_what_waits_is_half_of_its_keys() -> None:
    """Items of many keys, such as transactions, leave by halves too, not a few first and then nearly all."""
    recorder = Recorder()
    recorder.gate.clear()
    async with Batcher(recorder.flush, divides=True, max_size=1000, keys=lambda item: range(5 * item, 5 * item + 5)) as batcher:
        many = asyncio.gather(*map(batcher.submit, range(64)))
        await until(lambda: len(recorder.batches) == 2)
        recorder.gate.set()
        await many
    assert [len(batch) for batch in recorder.batches] == [32, 32]


async def test_what_comes_together_out_of_another_batch_is_not_divided() -> None:
    """It leaves as it came; where it is the smaller part of what waits, that is divided as before."""
    recorder = Recorder()
    async with Batcher(recorder.flush, divides=True, keys=lambda item: (item,)) as batcher:
        await asyncio.gather(*(batcher.submit(number, together=True) for number in range(64)))
        assert [len(batch) for batch in recorder.batches] == [64]
        recorder.gate.clear()
        many = asyncio.gather(*(batcher.submit(number, together=number < 20) for number in range(64)))
        await until(lambda: len(recorder.batches) == 3)
        recorder.gate.set()
        await many
    assert [len(batch) for batch in recorder.batches] == [64, 32, 32]
