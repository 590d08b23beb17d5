from stream.workers.acks import Acks, Source

EVENTS_0 = Source("events", 0)


class Record:
    def __init__(self, number: int, acknowledged: list[int]) -> None:
        self._number, self._acknowledged = number, acknowledged

    def ack(self) -> bool:
        self._acknowledged.append(self._number)
        return True


def test_record_is_acknowledged_once_all_it_led_to_is_durable() -> None:
    acknowledged: list[int] = []
    pending = Acks().begin(Record(1, acknowledged), EVENTS_0)
    pending.one_more()
    pending.one_less()
    assert acknowledged == []

    pending.one_less()

    assert acknowledged == [1]


def test_records_of_a_source_are_acknowledged_in_their_order() -> None:
    acknowledged: list[int] = []
    acks = Acks()
    first, second = (acks.begin(Record(number, acknowledged), EVENTS_0) for number in (1, 2))
    second.one_less()
    assert (acknowledged, acks.n_pending) == ([], 2)

    first.one_less()

    assert (acknowledged, acks.n_pending) == ([1, 2], 0)


def test_sources_do_not_wait_for_each_other() -> None:
    acknowledged: list[int] = []
    acks = Acks()
    acks.begin(Record(1, acknowledged), EVENTS_0)
    acks.begin(Record(2, acknowledged), Source("exposures", 0)).one_less()

    assert acknowledged == [2]


def test_forgotten_record_is_not_acknowledged_any_more() -> None:
    acknowledged: list[int] = []
    acks = Acks()
    pending = acks.begin(Record(1, acknowledged), EVENTS_0)

    acks.forget()
    pending.one_less()

    assert acknowledged == []
