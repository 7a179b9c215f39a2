"""What counts as novel: far out, apart from how features go together, or never seen to change."""

import numpy as np
import pytest

from planner_pipeline.training.novelty import (
    STEPS_THAT_FIRE,
    Novelty,
    fit_novelty,
    shrunk_covariance,
)

F, N_STILL = 20, 6


def some_decisions(n: int, seed: int = 0) -> np.ndarray:
    """A dozen normal features, of which two go together, a one-hot of two, six that are still."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, F))
    features[:, 1] = features[:, 0] + 0.1 * features[:, 1]
    features[:, 12] = rng.random(n) < 0.4
    features[:, 13] = 1 - features[:, 12]
    features[:, F - N_STILL :] = 0.0
    features[:, F - 1] = 1.0
    return features


@pytest.fixture(scope="module")
def novelty() -> Novelty:
    return fit_novelty(some_decisions(600), np.arange(600) % 30)


def is_novel(novelty: Novelty, features: np.ndarray) -> np.ndarray:
    return novelty.distance(features) > novelty.threshold


def typical(novelty: Novelty) -> np.ndarray:
    features = some_decisions(401, 1)
    distance = novelty.distance(features)
    return features[np.argsort(distance)[200]]


def test_few_decisions_like_those_of_training_are_novel(novelty: Novelty) -> None:
    assert is_novel(novelty, some_decisions(4_000, 2)).mean() < 0.015
    assert is_novel(novelty, some_decisions(4_000, 2) * 3).mean() > 0.9


def test_one_or_two_features_that_never_changed_do_not_fire_alone_and_more_do(
    novelty: Novelty,
) -> None:
    for n_changed in range(1, N_STILL + 1):
        row = typical(novelty).copy()
        row[F - N_STILL :][:n_changed] += 1.0
        assert is_novel(novelty, row[None])[0] == (n_changed >= STEPS_THAT_FIRE)
        row[F - N_STILL :][:n_changed] *= 1e6
        assert is_novel(novelty, row[None])[0] == (n_changed >= STEPS_THAT_FIRE)


def test_an_unseen_kind_of_a_one_hot_does_not_fire_alone(novelty: Novelty) -> None:
    row = typical(novelty).copy()
    row[12:14], row[14] = 0.0, 1.0
    assert not is_novel(novelty, row[None])[0]


def test_features_that_break_what_goes_together_are_further_out_than_their_sizes(
    novelty: Novelty,
) -> None:
    together, apart = typical(novelty).copy(), typical(novelty).copy()
    together[:2] = 2.0
    apart[:2] = 2.0, -2.0
    assert novelty.distance(apart[None])[0] > novelty.distance(together[None])[0] + 0.3
    assert is_novel(novelty, apart[None])[0]


def test_one_feature_far_out_fires_and_none_is_without_a_number(novelty: Novelty) -> None:
    for size in (10.0, 1e30, np.inf):
        row = typical(novelty).copy()
        row[5] = size
        assert np.isfinite(novelty.distance(row[None])).all()
        assert is_novel(novelty, row[None])[0]


def test_a_threshold_knows_that_a_whole_block_may_be_apart() -> None:
    features = some_decisions(600)
    block = np.arange(600) % 10
    moved = features + 1.5 * np.random.default_rng(3).normal(size=(10, F))[block] * (
        np.arange(F) < 12
    )
    by_block, by_row = (fit_novelty(moved, by) for by in (block, np.arange(600)))
    assert by_block.threshold > by_row.threshold


@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_decisions_make_no_strict_detector(n: int) -> None:
    novelty = fit_novelty(some_decisions(n), np.zeros(n, dtype=int))
    assert np.isfinite(novelty.threshold)
    assert novelty.threshold > 0
    assert not is_novel(novelty, some_decisions(n)).any()


def test_shrinking_is_the_textbooks_sum_and_never_leaves_a_direction_without_spread() -> None:
    z = np.random.default_rng(0).normal(size=(9, 5))
    sample = sum(np.outer(row, row) for row in z) / 9
    mean = np.trace(sample) / 5
    apart = ((sample - mean * np.eye(5)) ** 2).sum()
    noise = sum(((np.outer(row, row) - sample) ** 2).sum() for row in z) / 81
    share = min(noise / apart, 1.0)
    assert share > 0.2
    expected = share * mean * np.eye(5) + (1 - share) * sample
    assert shrunk_covariance(z) == pytest.approx(expected)
    same = np.repeat(np.random.default_rng(1).normal(size=(500, 1)), 5, axis=1)
    assert np.linalg.eigvalsh(shrunk_covariance(same)).min() > 0.1
