"""The batcher: what is batched with what, what happens when it is full, late or closed."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from serving.batcher import Batcher, BatcherClosed, BatchQueueFull


class Doubler:
    """Doubles numbers; remembers the batches, and waits until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.started = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        self.started.set()
        assert self.may_go_on.wait(10)
        return [2 * number for number in numbers]


def test_requests_that_arrive_together_are_answered_by_one_call() -> None:
    doubler = Doubler()

    async def scenario() -> list[int]:
        batcher: Batcher[int, int] = Batcher(doubler, max_batch=32)
        batcher.start()
        answers = await asyncio.gather(*(batcher.ask(number, timeout_s=10) for number in (1, 2, 3)))
        await batcher.close()
        return answers

    assert asyncio.run(scenario()) == [2, 4, 6]
    assert doubler.batches == [[1, 2, 3]]


def test_a_batch_never_exceeds_its_size() -> None:
    doubler = Doubler()

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(doubler, max_batch=2)
        batcher.start()
        await asyncio.gather(*(batcher.ask(number, timeout_s=10) for number in range(5)))
        await batcher.close()

    asyncio.run(scenario())
    assert doubler.batches == [[0, 1], [2, 3], [4]]


def test_while_the_worker_is_busy_the_next_batch_fills() -> None:
    doubler = Doubler()
    doubler.may_go_on.clear()

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(doubler)
        batcher.start()
        first = asyncio.create_task(batcher.ask(0, timeout_s=10))
        await asyncio.to_thread(doubler.started.wait, 10)
        rest = [asyncio.create_task(batcher.ask(number, timeout_s=10)) for number in (1, 2, 3)]
        await asyncio.sleep(0)  # let them queue
        doubler.may_go_on.set()
        await asyncio.gather(first, *rest)
        await batcher.close()

    asyncio.run(scenario())
    assert doubler.batches == [[0], [1, 2, 3]]


def test_a_full_queue_refuses_at_once_and_names_the_limit() -> None:
    doubler = Doubler()
    doubler.may_go_on.clear()

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(doubler, max_batch=1, max_waiting=1)
        batcher.start()
        at_work = asyncio.create_task(batcher.ask(0, timeout_s=10))
        await asyncio.to_thread(doubler.started.wait, 10)
        waiting = asyncio.create_task(batcher.ask(1, timeout_s=10))
        await asyncio.sleep(0)  # let it queue
        with pytest.raises(BatchQueueFull, match="1 requests wait, limit is 1"):
            await batcher.ask(2, timeout_s=10)
        doubler.may_go_on.set()
        assert await asyncio.gather(at_work, waiting) == [0, 2]
        await batcher.close()

    asyncio.run(scenario())


def test_a_request_past_its_deadline_is_given_up_and_never_computed() -> None:
    doubler = Doubler()
    doubler.may_go_on.clear()

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(doubler)
        batcher.start()
        at_work = asyncio.create_task(batcher.ask(0, timeout_s=10))
        await asyncio.to_thread(doubler.started.wait, 10)
        with pytest.raises(TimeoutError):
            await batcher.ask(1, timeout_s=0.01)
        doubler.may_go_on.set()
        await at_work
        assert await batcher.ask(2, timeout_s=10) == 4
        await batcher.close()

    asyncio.run(scenario())
    assert doubler.batches == [[0], [2]]


def test_an_error_reaches_every_asker_of_its_batch_and_the_next_batch_is_answered() -> None:
    def fails_on_zero(numbers: Sequence[int]) -> list[int]:
        return [10 // number for number in numbers]

    async def scenario() -> list[int | BaseException]:
        batcher: Batcher[int, int] = Batcher(fails_on_zero)
        batcher.start()
        together = await asyncio.gather(
            batcher.ask(0, timeout_s=10), batcher.ask(1, timeout_s=10), return_exceptions=True
        )
        after = await batcher.ask(5, timeout_s=10)
        await batcher.close()
        return [*together, after]

    first, second, after = asyncio.run(scenario())
    assert isinstance(first, ZeroDivisionError)
    assert isinstance(second, ZeroDivisionError)
    assert after == 2


def test_too_few_answers_are_an_error_not_a_hang() -> None:
    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(lambda numbers: [])
        batcher.start()
        with pytest.raises(ValueError, match="zip"):
            await batcher.ask(1, timeout_s=10)
        await batcher.close()

    asyncio.run(scenario())


def test_closing_ends_those_who_wait_and_refuses_new_ones() -> None:
    doubler = Doubler()
    doubler.may_go_on.clear()

    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(doubler, max_batch=1)
        batcher.start()
        at_work = asyncio.create_task(batcher.ask(1, timeout_s=10))
        await asyncio.to_thread(doubler.started.wait, 10)
        waiting = asyncio.create_task(batcher.ask(2, timeout_s=10))
        await asyncio.sleep(0)  # let it queue
        closing = asyncio.create_task(batcher.close())
        doubler.may_go_on.set()
        await closing
        assert await at_work == 2
        with pytest.raises(BatcherClosed, match="stopping"):
            await waiting
        with pytest.raises(BatcherClosed, match="stopping"):
            await batcher.ask(3, timeout_s=10)

    asyncio.run(scenario())
