import numpy as np
import pytest

from models.encoder.batches import SequenceData
from models.rivals.numbering import Numbering

HAS_ID = np.array([False, True, True, False, True])


def test_items_with_an_id_come_first_in_the_order_of_the_catalogue() -> None:
    numbering = Numbering(HAS_ID)

    assert numbering.n_owners == 3
    assert numbering.row_of.tolist() == [1, 2, 4, 0, 3]
    assert numbering.numbers(np.array([0, 1, 2, 3, 4])).tolist() == [3, 0, 1, 4, 2]


def test_histories_keep_all_but_the_names_of_their_items() -> None:
    data = SequenceData.from_events(np.array([5, 5, 9]), np.array([4, 1, 2]), np.array([1, 2, 3]))

    numbered = Numbering(HAS_ID).renumbered(data)

    assert numbered.rows.tolist() == [2, 0, 1]
    assert numbered.ts_ms.tolist() == [1, 2, 3]
    assert numbered.starts.tolist() == [0, 2, 3]


def test_a_withheld_item_in_training_is_refused() -> None:
    data = SequenceData.from_events(np.array([5, 5, 9]), np.array([4, 3, 2]), np.array([1, 2, 3]))

    with pytest.raises(ValueError, match=r"1 of 3 training events are of items without an ID, the first of row 3"):
        Numbering(HAS_ID).renumbered(data)
