"""Histories as a stream of blocks, on a hand-typed example."""

import numpy as np

from models.encoder.batches import SequenceData
from models.memory.blocks import Block, blocks_by_time

USERS = np.array([1, 1, 1, 2, 2], dtype=np.int64)
ITEMS = np.array([0, 1, 2, 3, 4], dtype=np.int64)
TIMES_MS = np.array([1_000, 5_100, 5_900, 3_000, 9_000], dtype=np.int64)
DATA = SequenceData.from_events(USERS, ITEMS, TIMES_MS)


def test_events_of_one_second_are_one_block_and_blocks_come_in_the_order_of_time() -> None:
    blocks = blocks_by_time(DATA, since_ms=0, until_ms=10_000)

    assert blocks == [Block(0, 0, 1), Block(3, 3, 4), Block(0, 1, 3), Block(3, 4, 5)]


def test_only_blocks_that_begin_inside_the_span_are_given() -> None:
    assert blocks_by_time(DATA, since_ms=3_000, until_ms=9_000) == [Block(3, 3, 4), Block(0, 1, 3)]


def test_no_events_are_no_blocks() -> None:
    nothing = np.zeros(0, dtype=np.int64)

    assert blocks_by_time(SequenceData.from_events(nothing, nothing, nothing), since_ms=0, until_ms=1) == []
