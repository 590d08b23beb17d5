"""The bounded pool: work beyond its bound is refused, not queued without end."""

import asyncio
import threading

import pytest

from serving.pool import Pool, PoolFull, PoolTimeout


def test_a_job_runs_on_another_thread() -> None:
    async def scenario() -> str:
        pool = Pool("test", n_threads=1, max_waiting=0)
        name = await pool.run(lambda: threading.current_thread().name)
        pool.close()
        return name

    assert asyncio.run(scenario()).startswith("freshet-test")


def test_an_error_of_a_job_reaches_its_asker() -> None:
    async def scenario() -> None:
        pool = Pool("test", n_threads=1, max_waiting=0)
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
        pool.close()

    asyncio.run(scenario())


def test_a_job_that_hangs_is_not_waited_for_beyond_the_deadline_and_still_counts() -> None:
    may_end = threading.Event()

    async def scenario() -> None:
        pool = Pool("pictures", n_threads=1, max_waiting=0, timeout_s=0.01)
        with pytest.raises(PoolTimeout, match=r"a job for pictures was not done within 0\.01 s; it may be done later"):
            await pool.run(may_end.wait, 10)
        with pytest.raises(PoolFull, match="1 jobs run or wait for pictures, limit is 1"):
            await pool.run(str, "second")
        may_end.set()
        pool.close()

    asyncio.run(scenario())


def test_a_job_that_nobody_waits_for_any_more_is_not_begun_and_its_place_is_free() -> None:
    may_end, begun = threading.Event(), threading.Event()

    async def scenario() -> None:
        pool = Pool("pictures", n_threads=1, max_waiting=1)
        running = asyncio.create_task(pool.run(may_end.wait, 10))
        waiting = asyncio.create_task(pool.run(begun.set))
        await asyncio.sleep(0)  # let them start
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        last = asyncio.create_task(pool.run(str, "in its place"))
        may_end.set()
        assert (await running, await last) == (True, "in its place")
        pool.close()

    asyncio.run(scenario())
    assert not begun.is_set()


def test_a_timeout_of_the_job_itself_reaches_its_asker() -> None:
    def give_up() -> None:
        raise TimeoutError("the volume did not answer")

    async def scenario() -> None:
        pool = Pool("test", n_threads=1, max_waiting=0)
        with pytest.raises(TimeoutError, match="the volume did not answer"):
            await pool.run(give_up)
        pool.close()

    asyncio.run(scenario())


def test_a_full_pool_refuses_and_names_the_limit_and_works_again_after() -> None:
    may_end = threading.Event()

    async def scenario() -> str:
        pool = Pool("pictures", n_threads=1, max_waiting=1)
        jobs = [asyncio.create_task(pool.run(may_end.wait, 10)) for _ in range(2)]
        await asyncio.sleep(0)  # let them start
        with pytest.raises(PoolFull, match="2 jobs run or wait for pictures, limit is 2"):
            await pool.run(str, "third")
        may_end.set()
        await asyncio.gather(*jobs)
        answer = await pool.run(str, "fourth")
        pool.close()
        return answer

    assert asyncio.run(scenario()) == "fourth"
