from consumers.learning.cycle_events import CycleEvent
from consumers.learning.cycle_reports import CycleReports
from tests.clock import Clock
from tests.consumers.cycle_fixtures import Reports


def test_line_is_reported_as_it_is() -> None:
    reports = Reports()

    CycleReports(3, reports.append).say("after pretrain epoch 1", "resumed")

    assert reports == [CycleEvent(state="resumed", cycle=3, detail="after pretrain epoch 1")]


def test_what_counts_is_told_of_when_nothing_was_said_for_long() -> None:
    reports, clock = Reports(), Clock()
    told = CycleReports(3, reports.append, pulse_s=30.0, clock=clock)
    count = told.counting("pieces")

    for n_done in range(10):
        count(100 * n_done, 12_000)
        clock.now_s += 10.0

    assert reports.details == ["pieces: 300 of 12,000", "pieces: 600 of 12,000", "pieces: 900 of 12,000"]
    assert set(reports.states) == {"progress"}


def test_nothing_is_told_soon_after_a_line() -> None:
    reports, clock = Reports(), Clock()
    told = CycleReports(3, reports.append, pulse_s=30.0, clock=clock)
    count = told.counting("pieces")
    clock.now_s += 29.0
    told.say("epoch 1 is over")
    clock.now_s += 29.0

    count(1, 2)

    assert reports.details == ["epoch 1 is over"]
