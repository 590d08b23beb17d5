from collections.abc import Callable

import pytest
from kafka.errors import KafkaError, LeaderNotAvailableError, TopicAuthorizationFailedError, UnknownBrokerIdError

from stream.kafka.connect import answered
from stream.log import LogUnavailable


def failing(*errors: KafkaError) -> Callable[[], str]:
    """Raises them, one at each call, and then answers."""
    left = list(errors)

    def ask() -> str:
        if left:
            raise left.pop(0)
        return "the answer"

    return ask


@pytest.mark.parametrize("error", [LeaderNotAvailableError(), UnknownBrokerIdError(-1)], ids=lambda e: type(e).__name__)
def test_brokers_that_have_no_leader_yet_are_asked_again(error: KafkaError) -> None:
    assert answered(failing(error, error), doing="asking", timeout_s=20) == "the answer"


def test_brokers_that_do_not_answer_in_time_are_given_up() -> None:
    with pytest.raises(LogUnavailable, match="asking: UnknownBrokerIdError: -1; are the brokers up"):
        answered(failing(UnknownBrokerIdError(-1)), doing="asking", timeout_s=-1)


def test_what_will_last_is_not_asked_again() -> None:
    with pytest.raises(LogUnavailable, match="TopicAuthorizationFailedError; are the brokers up"):
        answered(failing(TopicAuthorizationFailedError()), doing="asking", timeout_s=20)
