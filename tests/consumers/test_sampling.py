import pytest

from consumers.sampling import is_sampled


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_sample_holds_its_share_of_the_users(share: float) -> None:
    n_sampled = sum(is_sampled(f"user-{number}", share) for number in range(20_000))

    assert n_sampled / 20_000 == pytest.approx(share, abs=0.01)


def test_a_larger_sample_holds_every_user_of_a_smaller_one() -> None:
    users = [f"user-{number}" for number in range(2_000)]

    assert all(is_sampled(user, 0.3) for user in users if is_sampled(user, 0.1))
