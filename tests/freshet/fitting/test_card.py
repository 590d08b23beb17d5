from dataclasses import replace

from freshet.fitting.card import CurvePoint, ModelCard, markdown

CURVE = (
    CurvePoint(1, 5.0, 90, 1.0, 0.11, 0.20),
    CurvePoint(2, 4.0, 90, 1.0, 0.12, 0.30),
    CurvePoint(3, 3.0, 90, 1.0, 0.13, 0.30),
)
CARD = ModelCard("m2se", {"data": "shop"}, {"seed": 0}, CURVE, ndcg_at_10=0.12)


def test_the_card_tells_of_the_epoch_that_was_kept() -> None:
    card = markdown("v1", CARD)

    assert "After epoch 2: loss 4.0000, filtered NDCG@10 0.1200 over users' last events" in card
    assert "| epoch | loss | targets | seconds | NDCG@10 | validation |" in card
    assert card.endswith("| 3 | 3.0000 | 90 | 1.0 | 0.1300 | 0.3000 |\n")


def test_without_a_validation_score_the_last_epoch_was_kept() -> None:
    card = markdown("v1", replace(CARD, curve=[replace(point, validation=None) for point in CURVE]))

    assert "After epoch 3: loss 3.0000, filtered NDCG@10 0.1200" in card
    assert card.endswith("| 3 | 3.0000 | 90 | 1.0 | 0.1300 |  |\n")


def test_a_card_without_a_figure_says_why() -> None:
    card = markdown("v1", replace(CARD, curve=(), ndcg_at_10=None))

    assert "\n\nNo NDCG@10: none of the last events of users could be ranked; each is of an item that the user" in card
    assert "Filtered NDCG@10" not in card


def test_a_model_without_epochs_has_no_curve() -> None:
    card = markdown("v1", replace(CARD, curve=()))

    assert "\n\nFiltered NDCG@10 0.1200 over users' last events" in card
    assert "| epoch |" not in card
