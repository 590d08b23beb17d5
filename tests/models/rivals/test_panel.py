import numpy as np

from models.rivals.panel import RivalPanel, as_columns, default_rivals


def test_rivals_score_from_the_state_before_an_event() -> None:
    panel = RivalPanel(default_rivals())
    panel.learn("ada", "x")
    panel.learn("ada", "y")
    panel.learn("bo", "x")

    popularity, cooccurrence = (as_columns(row, panel.numbers(["y", "x", "new"])) for row in panel.scores("bo"))

    assert panel.names == ("popularity", "cooccurrence")
    assert popularity.tolist() == [1.0, 2.0, 0.0]
    assert cooccurrence[0] > 0
    assert cooccurrence[1:].tolist() == [0.0, 0.0]


def test_items_that_came_after_the_scores_were_taken_score_nothing() -> None:
    assert as_columns(np.array([3.0, 4.0], np.float32), np.array([1, 2, -1, 0])).tolist() == [4.0, 0.0, 0.0, 3.0]
