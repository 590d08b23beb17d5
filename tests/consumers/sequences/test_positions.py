import asyncio
from concurrent.futures import ThreadPoolExecutor

from consumers.sequences.positions import AppliedPositions

LONG_S = 20.0


def test_position_already_reached_needs_no_wait() -> None:
    positions = AppliedPositions()
    positions.advance(1, 5)
    assert positions.wait(1, 5, timeout_s=0.0)


def test_position_not_reached_by_the_deadline_says_so() -> None:
    positions = AppliedPositions()
    positions.advance(1, 5)
    assert not positions.wait(1, 6, timeout_s=0.01)
    assert not positions.wait(2, 0, timeout_s=0.0)


def test_threads_waiting_are_woken_by_the_advance_that_reaches_them() -> None:
    positions = AppliedPositions()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(positions.wait, 0, offset, LONG_S) for offset in range(1, 9)]
        for offset in range(9):
            positions.advance(0, offset)
        assert [future.result(LONG_S) for future in waiting] == [True] * 8


def test_event_loop_waits_without_holding_a_thread() -> None:
    positions = AppliedPositions()

    async def wait_for_all() -> list[bool]:
        waits = [asyncio.create_task(positions.wait_async(0, offset, LONG_S)) for offset in range(1, 101)]
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(positions.advance, 0, 100)
            return await asyncio.gather(*waits)

    assert asyncio.run(wait_for_all()) == [True] * 100


def test_event_loop_gets_false_at_the_deadline() -> None:
    assert asyncio.run(AppliedPositions().wait_async(0, 1, 0.01)) is False


def test_advance_after_the_waiting_loop_ended_is_harmless() -> None:
    positions = AppliedPositions()

    async def give_up() -> None:
        task = asyncio.create_task(positions.wait_async(0, 1, LONG_S))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(give_up())
    positions.advance(0, 1)
    assert positions.next_offsets() == {0: 1}


def test_forgotten_partition_is_not_applied_any_more() -> None:
    positions = AppliedPositions()
    positions.advance(0, 5)
    positions.forget(0)
    assert positions.next_offsets() == {}
    assert not positions.wait(0, 1, timeout_s=0.0)
