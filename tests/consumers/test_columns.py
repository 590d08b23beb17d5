from consumers.columns import Columns


def test_the_last_column_of_an_item_is_its_live_one() -> None:
    columns = Columns()
    columns.become(["a", "b", "a"])
    assert columns.places(["b", "a", "none"]).tolist() == [1, 2, -1]
    assert columns.known(["none", "a"]).tolist() == [2]


def test_columns_are_worked_out_anew_only_for_other_items() -> None:
    columns = Columns()
    assert columns.become(["a", "b"])
    assert not columns.become(["a", "b"])
    assert columns.become(["a", "b", "c"])
    assert columns.places(["c"]).tolist() == [2]
