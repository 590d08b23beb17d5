import pytest
import torch

from models.content.table import ContentError, ContentTable, pad_parts, split_sentences


def table(*ids: str, parts: int = 2, value: float = 1.0, width: int = 3) -> ContentTable:
    n = len(ids)
    return ContentTable(
        item_ids=ids,
        text=torch.full((n, parts, width), value),
        text_mask=torch.ones(n, parts, dtype=torch.bool),
        image=torch.zeros(n, 4, 5),
        image_mask=torch.zeros(n, 4, dtype=torch.bool),
    )


def test_title_comes_first_and_sentences_follow() -> None:
    assert split_sentences("Heat", "A thief plans. A cop hunts! Who wins? Nobody.") == (
        "Heat",
        "A thief plans.",
        "A cop hunts!",
        "Who wins?",
        "Nobody.",
    )


def test_tail_is_merged_into_the_last_sentence() -> None:
    assert split_sentences("T", "One. Two. Three. Four.", max_sentences=3) == (
        "T",
        "One.",
        "Two. Three. Four.",
    )


def test_empty_title_and_text_give_no_sentences() -> None:
    assert split_sentences("", "") == ()
    assert split_sentences("Only a title", " \n ") == ("Only a title",)
    assert split_sentences("", "Only text") == ("Only text",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. No meets J. Bond in St. Louis. He wins.", ("Dr. No meets J. Bond in St. Louis.", "He wins.")),
        ("It costs 3.50 today. Cheap", ("It costs 3.50 today.", "Cheap")),
        ('He said "Run!" Then he ran.', ('He said "Run!"', "Then he ran.")),
        ("red shoe\nsize 42\r\n\r\nleather", ("red shoe", "size 42", "leather")),
        ("你好。再见！", ("你好。", "再见！")),
        ("wait... what? yes", ("wait... what? yes",)),
        ("Élan vital.  Été arrives.", ("Élan vital.", "Été arrives.")),
    ],
)
def test_breaks_where_a_reader_would(text: str, expected: tuple[str, ...]) -> None:
    assert split_sentences("", text) == expected


def test_max_sentences_below_one_is_refused() -> None:
    with pytest.raises(ContentError, match="max_sentences=0 must be at least 1"):
        split_sentences("a", "b", max_sentences=0)


def test_splitting_a_long_text_without_breaks_is_linear() -> None:
    assert split_sentences("", "x" * 20_000) == ("x" * 20_000,)
    assert len(split_sentences("", ". " * 10_000)) == 1


def test_rows_finds_items_in_the_order_asked() -> None:
    assert table("a", "b", "c").rows(["c", "a"]).tolist() == [2, 0]
    assert "b" in table("a", "b")
    assert "z" not in table("a", "b")


def test_rows_of_unknown_item_names_it() -> None:
    with pytest.raises(ContentError, match="item 'z' is not among the 2 items"):
        table("a", "b").rows(["z"])


def test_concat_pads_to_the_longer_parts() -> None:
    both = table("a", parts=1).concat(table("b", parts=3, value=2.0))

    assert both.item_ids == ("a", "b")
    assert both.text.shape == (2, 3, 3)
    assert both.text_mask.tolist() == [[True, False, False], [True, True, True]]
    assert both.text[0, 1:].abs().sum() == 0


def test_concat_refuses_other_widths_and_items_in_both() -> None:
    with pytest.raises(ContentError, match="text widths differ: 3 and 4; encode both with the same towers"):
        table("a").concat(table("b", width=4))
    with pytest.raises(ContentError, match="item 'a' stands twice"):
        table("a").concat(table("a"))


def test_select_and_empty_table_work() -> None:
    assert table("a", "b").select(torch.tensor([1])).item_ids == ("b",)
    assert len(table()) == 0
    assert table().concat(table("a")).item_ids == ("a",)


def test_wrong_shapes_and_values_are_named() -> None:
    good = table("a", "b")
    with pytest.raises(ContentError, match=r"text has shape \(2, 2, 3\), wants \(1, parts, width\)"):
        ContentTable(("a",), good.text, good.text_mask, good.image, good.image_mask)
    with pytest.raises(ContentError, match=r"image_mask has shape \(2, 4\) of torch.float32"):
        ContentTable(("a", "b"), good.text, good.text_mask, good.image, good.image_mask.float())
    bad = good.text.clone()
    bad[1, 0, 0] = float("nan")
    with pytest.raises(ContentError, match=r"text of item 'b' \(row 1\) holds nan in part 0, wants finite values"):
        ContentTable(("a", "b"), bad, good.text_mask, good.image, good.image_mask)
    with pytest.raises(ContentError, match=r"text holds torch.int64"):
        ContentTable(("a", "b"), good.text.long(), good.text_mask, good.image, good.image_mask)


def test_pad_parts_adds_zeros_and_false() -> None:
    parts, mask = pad_parts(torch.ones(1, 1, 2), torch.ones(1, 1, dtype=torch.bool), 3)
    assert parts.tolist() == [[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]]
    assert mask.tolist() == [[True, False, False]]
