import asyncio
from concurrent.futures import ThreadPoolExecutor

from consumers.sequences.positions import AppliedPositions

LONG_S = 20.0


def is_reached(positions: AppliedPositions, partition: int, next_offset: int, timeout_s: float = 0.0) -> bool:
    return asyncio.run(positions.wait_async(partition, next_offset, timeout_s))


def test_position_already_reached_needs_no_wait() -> None:
    positions = AppliedPositions()
    positions.advance(1, 5)
    assert is_reached(positions, 1, 5)


def test_position_not_reached_by_the_deadline_says_so() -> None:
    positions = AppliedPositions()
    positions.advance(1, 5)
    assert not is_reached(positions, 1, 6, timeout_s=0.01)
    assert not is_reached(positions, 2, 0)


def test_whoever_waits_is_woken_by_the_advance_that_reaches_it() -> None:
    positions = AppliedPositions()

    async def wait_for_all() -> list[bool]:
        waits = [asyncio.create_task(positions.wait_async(0, offset, LONG_S)) for offset in range(1, 101)]
        await asyncio.sleep(0)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: [positions.advance(0, offset) for offset in range(101)])
            return await asyncio.gather(*waits)

    assert asyncio.run(wait_for_all()) == [True] * 100


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
    assert not is_reached(positions, 0, 1)
