"""A process blends with the newest weights it knows, and not at all where that does not pay."""

from consumers.memory.shared_blend import BlendNow, SharedBlend
from models.memory.blend import BlendWeights
from stream.events import BlendState

STEADY, AGEING = (1.0, 0.5, 0.0, -2.0), (-0.1, 0.1, 0.0, 0.0)


def state(number: int, *, is_on: bool = True, steady: tuple[float, ...] = STEADY) -> BlendState:
    return BlendState(
        number=number,
        steady=steady,
        ageing=AGEING,
        age=0.5,
        model_version="v1",
        is_on=is_on,
        ts_ms=1_000,
        trending=(("a", 3),),
    )


def test_nothing_is_blended_before_anything_was_learned() -> None:
    blend = SharedBlend()
    assert (blend.now("v1"), blend.number) == (None, 0)


def test_weights_are_given_with_the_age_of_the_model_they_were_learned_beside() -> None:
    blend = SharedBlend()
    blend.put(state(3))
    assert blend.now("v1") == BlendNow(BlendWeights(3, STEADY, AGEING), 0.5, {"a": 3})
    assert blend.number == 3


def test_another_model_counts_as_fresh() -> None:
    blend = SharedBlend()
    blend.put(state(3))
    assert blend.now("v2") == BlendNow(BlendWeights(3, STEADY, AGEING), 0.0, {"a": 3})


def test_nothing_is_blended_while_it_does_not_pay() -> None:
    blend = SharedBlend()
    blend.put(state(3))
    blend.put(state(4, is_on=False))
    assert blend.now("v1") is None
    blend.put(state(5))
    assert blend.now("v1") is not None


def test_older_weights_and_those_of_other_parts_are_passed_over() -> None:
    blend = SharedBlend()
    blend.put(state(3))
    blend.put(state(3, is_on=False))
    blend.put(state(2, is_on=False))
    blend.put(state(9, steady=(1.0, 2.0)))
    assert blend.number == 3
    assert blend.now("v1") is not None
