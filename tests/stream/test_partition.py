"""Murmur2 as Kafka's Java client: vectors of its own test (UtilsTest.testMurmur2)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.partition import murmur2, partition_of


@pytest.mark.parametrize(
    ("key", "java_int"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_hash_equals_the_java_client(key: bytes, java_int: int) -> None:
    assert murmur2(key) == java_int & 0xFFFFFFFF


def test_partition_takes_the_hash_without_its_sign() -> None:
    assert partition_of(b"foobar", 1_000) == (-790332482 & 0x7FFFFFFF) % 1_000


@settings(deadline=None)
@given(key=st.binary(max_size=64), n_partitions=st.integers(1, 64))
def test_every_key_has_a_partition(key: bytes, n_partitions: int) -> None:
    assert 0 <= partition_of(key, n_partitions) < n_partitions
