"""The online blend: hand-made parts, and a stream in which one part tells the truth."""

from types import SimpleNamespace

import numpy as np
import pytest

from models.memory.blend import OLDEST, PARTS, Blend, BlendConfig, BlendWeights, PartScores, brought_by, utilities

N = 6
NOTHING = np.zeros(N, dtype=np.float32)
EVEN = BlendWeights(1, (1.0, 1.0, 0.0, -2.0), (0.0, 0.0, 0.0, 0.0))


def vector(**values: float) -> np.ndarray:
    """A score for some columns, as in `vector(c2=1.5)`; 0 for the others."""
    result = NOTHING.copy()
    for name, value in values.items():
        result[int(name[1:])] = value
    return result


def test_parts_stand_side_by_side_in_their_order() -> None:
    parts = PartScores.of(NOTHING, vector(c1=0.05), vector(c2=3.0), [4])

    assert parts.values.shape == (len(PARTS), N)
    np.testing.assert_allclose(parts.values[0], -np.log(6), rtol=1e-6)
    np.testing.assert_allclose(parts.values[1], vector(c1=np.log(2)), rtol=1e-6)
    np.testing.assert_allclose(parts.values[2], vector(c2=np.log(4)), rtol=1e-6)
    assert parts.values[3].tolist() == [0, 0, 0, 0, 1, 0]


def test_what_is_no_candidate_is_ranked_by_nobody_and_gets_no_chance() -> None:
    model = vector(c3=-np.inf)
    parts = PartScores.of(model, vector(c3=1.0), NOTHING, [])

    assert utilities(EVEN, parts)[3] == -np.inf
    np.testing.assert_allclose(parts.values[0, 0], -np.log(5), rtol=1e-6)
    assert Blend().learn(parts, 3) == 0.0


def test_no_candidate_at_all_is_an_error_that_says_how_many_items_there_were() -> None:
    with pytest.raises(ValueError, match="none of 6 items is a candidate"):
        PartScores.of(np.full(N, -np.inf, dtype=np.float32), NOTHING, NOTHING, [])


def test_weights_step_along_the_gradient_of_the_log_likelihood(monkeypatch: pytest.MonkeyPatch) -> None:
    slopes: dict[tuple[str, str], float] = {}
    noting = SimpleNamespace(step=lambda _, gradient: slopes.update(gradient))
    monkeypatch.setattr("models.memory.blend.optim.Adam", lambda _: noting)
    rng = np.random.default_rng(3)
    parts = PartScores.of(rng.normal(size=N).astype(np.float32), rng.random(N).astype(np.float32), NOTHING, [1])
    steady, ageing, age, at = [1.0, 0.7, 0.0, -2.0], [0.0, 0.1, 0.0, 0.0], 0.5, PARTS.index("memory")

    def loss(weight: float, change: float) -> float:
        weights = BlendWeights(0, (1.0, weight, 0.0, -2.0), (0.0, change, 0.0, 0.0))
        scores = utilities(weights, parts, age=age).astype(np.float64)
        return float(np.log(np.exp(scores).sum()) - scores[2])

    lost = Blend(weights=BlendWeights(0, tuple(steady), tuple(ageing))).learn(parts, 2, age=age)

    step = 1e-2
    by_weight = (loss(steady[at] + step, ageing[at]) - loss(steady[at] - step, ageing[at])) / (2 * step)
    by_change = (loss(steady[at], ageing[at] + step) - loss(steady[at], ageing[at] - step)) / (2 * step)
    assert lost == pytest.approx(loss(steady[at], ageing[at]), rel=1e-5)
    assert slopes["steady", "memory"] == pytest.approx(by_weight, rel=1e-3)
    assert slopes["ageing", "memory"] == pytest.approx(by_change, rel=2e-3)


def test_the_part_that_tells_the_truth_gains_weight_and_the_loss_falls() -> None:
    rng = np.random.default_rng(1)
    blend = Blend(BlendConfig(learning_rate=0.02))
    losses = []
    for _ in range(600):
        target = int(rng.integers(N))
        noise = rng.normal(size=N).astype(np.float32)
        losses.append(blend.learn(PartScores.of(noise, vector(**{f"c{target}": 0.3}), NOTHING, []), target))

    assert blend.weights.steady[PARTS.index("memory")] > 1.5
    assert blend.weights.steady[PARTS.index("model")] < 0.3
    assert np.mean(losses[-100:]) < 0.4 * np.mean(losses[:100])


def test_weights_never_leave_their_bounds_at_any_age() -> None:
    rng = np.random.default_rng(2)
    config = BlendConfig(learning_rate=0.5)
    blend = Blend(config)
    for _ in range(300):
        target = int(rng.integers(N))
        seen = PartScores.of(rng.normal(size=N).astype(np.float32), vector(**{f"c{target}": 1.0}), NOTHING, [target])
        blend.learn(seen, target, age=float(rng.uniform(0, OLDEST)))
        for age in (0.0, OLDEST):
            weights = blend.weights.at(age)
            assert (weights >= np.array(config.least) - 1e-5).all()
            assert (weights <= np.array(config.most) + 1e-5).all()


def test_a_model_ages_with_the_events_since_its_data_ended() -> None:
    blend = Blend(BlendConfig(age_events=1_000.0))

    assert blend.age(0) == 0.0
    assert blend.age(1_000) == pytest.approx(np.log(2))
    assert blend.age(10**12) == OLDEST


def test_each_item_says_which_part_brought_it() -> None:
    parts = PartScores.of(vector(c0=4.0), vector(c1=0.9), vector(c2=50.0), [])
    weights = BlendWeights(1, (1.0, 1.0, 1.0, -2.0), (0.0,) * 4)

    assert brought_by(weights, parts, utilities(weights, parts), [0, 1, 2]) == ["model", "memory", "trending"]


def test_an_item_that_no_part_lifts_is_the_models() -> None:
    parts = PartScores.of(np.array([3.0, 0.0], np.float32), np.zeros(2, np.float32), np.zeros(2, np.float32), [])
    weights = BlendWeights(1, (1.0, 2.0, 0.5, -2.0), (0.0,) * 4)

    assert brought_by(weights, parts, utilities(weights, parts), [0, 1]) == ["model", "model"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": (1.0, 0.5)}, r"start=\(1.0, 0.5\) has 2 values; one a part is needed"),
        ({"start": (9.0, 0.5, 0.0, 0.0)}, "start of model is 9.0, outside its bounds 0.0 to 2.0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 and age_events=50000.0 must be above 0"),
    ],
)
def test_bad_settings_are_refused_with_the_value(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlendConfig(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steady", "message"),
    [((1.0,), "1 steady and 4 ageing weights"), ((np.nan, 0, 0, 0), "blend weights must be numbers")],
)
def test_weights_that_mean_nothing_are_refused(steady: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlendWeights(1, steady, (0.0,) * 4)
