"""The limits check themselves."""

import pytest

from serving.settings import ServingSettings


def test_a_limit_of_zero_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="max_batch=0 must be above 0"):
        ServingSettings(max_batch=0)
